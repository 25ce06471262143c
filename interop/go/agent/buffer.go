package agent

import (
	"sync"
	"time"
)

// Buffer holds what a library's goroutines have read until it is polled, and the positions of what was polled.
type Buffer struct {
	lock      sync.Mutex
	records   []Record
	err       error
	positions map[TopicPartition]int64
	filled    chan struct{}
}

// NewBuffer is empty.
func NewBuffer() *Buffer {
	return &Buffer{positions: map[TopicPartition]int64{}, filled: make(chan struct{}, 1)}
}

// Add one record.
func (b *Buffer) Add(record Record) {
	b.lock.Lock()
	b.records = append(b.records, record)
	b.lock.Unlock()
	b.wake()
}

// Fail makes the next poll fail, once.
func (b *Buffer) Fail(err error) {
	b.lock.Lock()
	b.err = err
	b.lock.Unlock()
	b.wake()
}

// Forget a partition that was taken away: its records and its position.
func (b *Buffer) Forget(where TopicPartition) {
	b.lock.Lock()
	defer b.lock.Unlock()
	kept := b.records[:0]
	for _, record := range b.records {
		if record.Topic != where.Topic || record.Partition != where.Partition {
			kept = append(kept, record)
		}
	}
	b.records = kept
	delete(b.positions, where)
}

// Poll waits for the first record at most the timeout.
func (b *Buffer) Poll(timeout time.Duration) ([]Record, error) {
	deadline := time.After(timeout)
	for {
		records, err := b.take()
		if len(records) > 0 || err != nil {
			return records, err
		}
		select {
		case <-b.filled:
		case <-deadline:
			return nil, nil
		}
	}
}

// Positions after everything polled of partitions that were not forgotten.
func (b *Buffer) Positions() map[TopicPartition]int64 {
	b.lock.Lock()
	defer b.lock.Unlock()
	positions := make(map[TopicPartition]int64, len(b.positions))
	for where, offset := range b.positions {
		positions[where] = offset
	}
	return positions
}

func (b *Buffer) take() ([]Record, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	if b.err != nil {
		err := b.err
		b.err = nil
		return nil, err
	}
	count := min(len(b.records), PollMax)
	records := b.records[:count:count]
	b.records = append([]Record(nil), b.records[count:]...)
	for _, record := range records {
		b.positions[TopicPartition{record.Topic, record.Partition}] = record.Offset + 1
	}
	return records, nil
}

func (b *Buffer) wake() {
	select {
	case b.filled <- struct{}{}:
	default:
	}
}
