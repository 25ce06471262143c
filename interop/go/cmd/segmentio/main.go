// The interop agent of segmentio's kafka-go.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"pybroker.interop/agents/agent"
)

const callTimeout = 60 * time.Second

func main() {
	address := os.Args[1]
	agent.Serve(&client{address, admin(address)}, "github.com/segmentio/kafka-go")
}

type client struct {
	bootstrap string
	admin     *kafka.Client
}

var (
	failures  = kafka.LoggerFunc(log.New(os.Stderr, "", log.LstdFlags).Printf)
	transport = &kafka.Transport{MetadataTTL: 200 * time.Millisecond, DialTimeout: 5 * time.Second}
)

func admin(bootstrap string) *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: callTimeout, Transport: transport}
}

func (c *client) CreateTopic(topic string, partitions int32, configs map[string]string) error {
	entries := []kafka.ConfigEntry{}
	for key, value := range configs {
		entries = append(entries, kafka.ConfigEntry{ConfigName: key, ConfigValue: value})
	}
	created, err := c.admin.CreateTopics(context.Background(), &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{
			Topic: topic, NumPartitions: int(partitions), ReplicationFactor: 1, ConfigEntries: entries,
		}},
	})
	if err != nil {
		return err
	}
	return created.Errors[topic]
}

func (c *client) DeleteTopic(topic string) error {
	deleted, err := c.admin.DeleteTopics(context.Background(), &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	if err != nil {
		return err
	}
	return deleted.Errors[topic]
}

func (c *client) Topics() (map[string]int, error) {
	listed, err := c.admin.Metadata(context.Background(), &kafka.MetadataRequest{})
	if err != nil {
		return nil, err
	}
	topics := map[string]int{}
	for _, topic := range listed.Topics {
		if topic.Error != nil {
			return nil, fmt.Errorf("%s: %w", topic.Name, topic.Error)
		}
		topics[topic.Name] = len(topic.Partitions)
	}
	return topics, nil
}

func (c *client) offsets(topic string, asked kafka.OffsetRequest) (kafka.PartitionOffsets, error) {
	listed, err := c.admin.ListOffsets(context.Background(), &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{topic: {asked}},
	})
	if err != nil {
		return kafka.PartitionOffsets{}, err
	}
	for _, found := range listed.Topics[topic] {
		if found.Partition == asked.Partition {
			return found, found.Error
		}
	}
	return kafka.PartitionOffsets{}, errors.New("no answer for this partition")
}

func (c *client) OffsetAt(topic string, partition int32, timestampMs int64) (int64, error) {
	found, err := c.offsets(topic, kafka.TimeOffsetOf(int(partition), time.UnixMilli(timestampMs)))
	for offset := range found.Offsets {
		return offset, err
	}
	return -1, err
}

func (c *client) EndOffset(topic string, partition int32) (int64, error) {
	found, err := c.offsets(topic, kafka.LastOffsetOf(int(partition)))
	return found.LastOffset, err
}

func (c *client) Committed(group, topic string, partition int32) (int64, error) {
	answer, err := c.admin.OffsetFetch(context.Background(), &kafka.OffsetFetchRequest{
		GroupID: group, Topics: map[string][]int{topic: {int(partition)}},
	})
	if err != nil {
		return 0, err
	}
	if answer.Error != nil {
		return 0, answer.Error
	}
	found := answer.Topics[topic][0]
	return found.CommittedOffset, found.Error
}

func (c *client) SetCommitted(group, topic string, partition int32, offset int64) error {
	answer, err := c.admin.OffsetCommit(context.Background(), &kafka.OffsetCommitRequest{
		GroupID: group, GenerationID: -1,
		Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: int(partition), Offset: offset}}},
	})
	if err != nil {
		return err
	}
	return answer.Topics[topic][0].Error
}

var codecs = map[string]kafka.Compression{
	"none":   0,
	"gzip":   kafka.Gzip,
	"snappy": kafka.Snappy,
	"lz4":    kafka.Lz4,
	"zstd":   kafka.Zstd,
}

var acks = map[string]kafka.RequiredAcks{"0": kafka.RequireNone, "1": kafka.RequireOne, "all": kafka.RequireAll}

type producer struct {
	writer  *kafka.Writer
	patient bool
	pending sync.WaitGroup
	last    chan struct{}
	failed  agent.FirstError
}

func (c *client) OpenProducer(settings *agent.Request) (agent.Producer, error) {
	writer := &kafka.Writer{
		Addr: kafka.TCP(c.bootstrap),
		Balancer: kafka.BalancerFunc(func(message kafka.Message, _ ...int) int {
			return message.Partition
		}),
		RequiredAcks:           acks[settings.Acks],
		Compression:            codecs[settings.Codec],
		BatchSize:              1000,
		BatchTimeout:           5 * time.Millisecond,
		MaxAttempts:            100,
		WriteBackoffMax:        500 * time.Millisecond,
		AllowAutoTopicCreation: settings.AutoCreate,
		Transport:              transport,
		ErrorLogger:            failures,
	}
	if settings.AutoCreate {
		writer.MaxAttempts = 10
	}
	if settings.MaxBytes > 0 {
		writer.BatchBytes = int64(settings.MaxBytes)
	}
	first := make(chan struct{})
	close(first)
	return &producer{writer: writer, patient: !settings.AutoCreate, last: first}, nil
}

func (p *producer) Send(topic string, messages []agent.Message) error {
	records := make([]kafka.Message, 0, len(messages))
	for _, message := range messages {
		record := kafka.Message{
			Topic: topic, Partition: int(message.Partition), Key: message.Key, Value: message.Value,
		}
		if message.TimestampMs != 0 {
			record.Time = time.UnixMilli(message.TimestampMs)
		}
		for _, header := range message.Headers {
			record.Headers = append(record.Headers, kafka.Header{Key: header.Name, Value: header.Value})
		}
		records = append(records, record)
	}
	// WriteMessages waits for the acknowledgements; the order of two calls is kept by waiting for the first.
	before, done := p.last, make(chan struct{})
	p.last = done
	p.pending.Add(1)
	go func() {
		defer p.pending.Done()
		defer close(done)
		<-before
		p.failed.Set(p.write(records))
	}()
	return nil
}

// write again while the topic is not known, as kafka-go's documentation has its users do: nothing was sent then.
func (p *producer) write(records []kafka.Message) error {
	attempts := 10
	if p.patient {
		attempts = 100
	}
	for {
		err := p.writer.WriteMessages(context.Background(), records...)
		unknown := errors.Is(err, kafka.LeaderNotAvailable) || errors.Is(err, kafka.UnknownTopicOrPartition)
		if attempts--; !unknown || attempts == 0 {
			return err
		}
		time.Sleep(250 * time.Millisecond)
	}
}

func (p *producer) Flush(timeout time.Duration) error {
	select {
	case <-p.last:
		return p.failed.Take()
	case <-time.After(timeout):
		return errors.New("not acknowledged in time")
	}
}

func (p *producer) Close() error {
	p.pending.Wait()
	return p.writer.Close()
}

type reader struct {
	*agent.Buffer
	cancel context.CancelFunc
	ended  chan struct{}
}

func (c *client) OpenReader(topic string, partition int32, offset int64) (agent.Consumer, error) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader{agent.NewBuffer(), cancel, make(chan struct{})}
	go func() {
		defer close(r.ended)
		c.read(ctx, r.Buffer, topic, int(partition), offset)
	}()
	return r, nil
}

func (r *reader) Close() error {
	r.cancel()
	<-r.ended
	return nil
}

// read one partition into the buffer until the context ends.
func (c *client) read(ctx context.Context, into *agent.Buffer, topic string, partition int, offset int64) {
	source := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{c.bootstrap}, Topic: topic, Partition: partition,
		MaxBytes: 10e6, MaxWait: time.Second, ReadBackoffMax: 500 * time.Millisecond,
		MaxAttempts: 200, ErrorLogger: failures,
	})
	defer source.Close()
	// kafka-go's own words for earliest and latest are the protocol's numbers, as the suite's are.
	if err := source.SetOffset(offset); err != nil {
		into.Fail(err)
		return
	}
	for {
		message, err := source.ReadMessage(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			into.Fail(err)
			return
		}
		headers := []agent.Header{}
		for _, header := range message.Headers {
			headers = append(headers, agent.Header{Name: header.Key, Value: header.Value})
		}
		into.Add(agent.Record{
			Topic: message.Topic, Partition: int32(message.Partition), Offset: message.Offset,
			TimestampMs: message.Time.UnixMilli(), Key: message.Key, Value: message.Value, Headers: headers,
		})
	}
}

var balancers = map[string]kafka.GroupBalancer{
	"range": kafka.RangeGroupBalancer{}, "roundrobin": kafka.RoundRobinGroupBalancer{},
}

type member struct {
	*agent.Buffer
	group      *kafka.ConsumerGroup
	cancel     context.CancelFunc
	ended      chan struct{}
	lock       sync.Mutex
	generation *kafka.Generation
}

func (c *client) OpenMember(settings *agent.Request) (agent.Member, error) {
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: settings.Group, Brokers: []string{c.bootstrap}, Topics: settings.Topics,
		GroupBalancers:    []kafka.GroupBalancer{balancers[settings.Strategy]},
		HeartbeatInterval: 500 * time.Millisecond, SessionTimeout: 6 * time.Second,
		RebalanceTimeout: 10 * time.Second, JoinGroupBackoff: 200 * time.Millisecond,
		StartOffset: kafka.FirstOffset, ErrorLogger: failures,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{Buffer: agent.NewBuffer(), group: group, cancel: cancel, ended: make(chan struct{})}
	go m.run(ctx, c)
	return m, nil
}

func (m *member) run(ctx context.Context, c *client) {
	defer close(m.ended)
	for ctx.Err() == nil {
		generation, err := m.group.Next(ctx)
		if err != nil {
			log.Println("next:", err)
			continue
		}
		m.begin(generation)
		for topic, assignments := range generation.Assignments {
			for _, assignment := range assignments {
				generation.Start(func(ctx context.Context) {
					c.read(ctx, m.Buffer, topic, assignment.ID, assignment.Offset)
					m.Forget(agent.TopicPartition{Topic: topic, Partition: int32(assignment.ID)})
				})
			}
		}
		generation.Start(func(ctx context.Context) {
			<-ctx.Done()
			m.begin(nil)
		})
	}
}

func (m *member) begin(generation *kafka.Generation) {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.generation = generation
}

func (m *member) current() *kafka.Generation {
	m.lock.Lock()
	defer m.lock.Unlock()
	return m.generation
}

func (m *member) Assignment() []agent.TopicPartition {
	assigned := []agent.TopicPartition{}
	if generation := m.current(); generation != nil {
		for topic, assignments := range generation.Assignments {
			for _, assignment := range assignments {
				assigned = append(assigned, agent.TopicPartition{Topic: topic, Partition: int32(assignment.ID)})
			}
		}
	}
	return assigned
}

func (m *member) Commit() error {
	generation := m.current()
	if generation == nil {
		return errors.New("between two generations")
	}
	offsets := map[string]map[int]int64{}
	for where, offset := range m.Positions() {
		if offsets[where.Topic] == nil {
			offsets[where.Topic] = map[int]int64{}
		}
		offsets[where.Topic][int(where.Partition)] = offset
	}
	return generation.CommitOffsets(offsets)
}

func (m *member) Close() error {
	m.cancel()
	err := m.group.Close()
	<-m.ended
	return err
}
