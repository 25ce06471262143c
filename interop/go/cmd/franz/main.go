// The interop agent of franz-go.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"pybroker.interop/agents/agent"
)

const callTimeout = 60 * time.Second

func main() {
	client := &franz{bootstrap: os.Args[1]}
	connection, err := kgo.NewClient(client.options()...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	client.admin = kadm.NewClient(connection)
	agent.Serve(client, "github.com/twmb/franz-go")
}

type franz struct {
	bootstrap string
	admin     *kadm.Client
}

func (f *franz) options(more ...kgo.Opt) []kgo.Opt {
	return append([]kgo.Opt{
		kgo.SeedBrokers(f.bootstrap),
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.MetadataMaxAge(time.Second),
		kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelWarn, nil)),
	}, more...)
}

func (f *franz) CreateTopic(topic string, partitions int32, configs map[string]string) error {
	ctx, cancel := call()
	defer cancel()
	values := map[string]*string{}
	for key, value := range configs {
		values[key] = &value
	}
	created, err := f.admin.CreateTopics(ctx, partitions, 1, values, topic)
	if err != nil {
		return err
	}
	return created.Error()
}

func (f *franz) DeleteTopic(topic string) error {
	ctx, cancel := call()
	defer cancel()
	deleted, err := f.admin.DeleteTopics(ctx, topic)
	if err != nil {
		return err
	}
	return deleted.Error()
}

func (f *franz) Topics() (map[string]int, error) {
	ctx, cancel := call()
	defer cancel()
	listed, err := f.admin.ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	topics := map[string]int{}
	for name, topic := range listed {
		topics[name] = len(topic.Partitions)
	}
	return topics, listed.Error()
}

func (f *franz) OffsetAt(topic string, partition int32, timestampMs int64) (int64, error) {
	ctx, cancel := call()
	defer cancel()
	listed, err := f.admin.ListOffsetsAfterMilli(ctx, timestampMs, topic)
	if err != nil {
		return 0, err
	}
	found, _ := listed.Lookup(topic, partition)
	if found.Err == nil && found.Timestamp < 0 {
		return -1, nil // kadm gives the end offset when there is no such record
	}
	return found.Offset, found.Err
}

func (f *franz) EndOffset(topic string, partition int32) (int64, error) {
	ctx, cancel := call()
	defer cancel()
	listed, err := f.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	found, exists := listed.Lookup(topic, partition)
	if !exists {
		return 0, errors.New("no such partition")
	}
	return found.Offset, found.Err
}

func (f *franz) Committed(group, topic string, partition int32) (int64, error) {
	ctx, cancel := call()
	defer cancel()
	offsets, err := f.admin.FetchOffsets(ctx, group)
	if err != nil {
		return 0, err
	}
	found, exists := offsets.Lookup(topic, partition)
	if !exists {
		return -1, nil
	}
	return found.At, found.Err
}

func (f *franz) SetCommitted(group, topic string, partition int32, offset int64) error {
	ctx, cancel := call()
	defer cancel()
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, Partition: partition, At: offset, LeaderEpoch: -1})
	return f.admin.CommitAllOffsets(ctx, group, offsets)
}

var codecs = map[string]kgo.CompressionCodec{
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

var acks = map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}

type producer struct {
	client *kgo.Client
	failed agent.FirstError
}

func (f *franz) OpenProducer(settings *agent.Request) (agent.Producer, error) {
	options := f.options(
		kgo.RequiredAcks(acks[settings.Acks]),
		kgo.ProducerBatchCompression(codecs[settings.Codec]),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(5*time.Millisecond),
	)
	if !settings.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	if settings.AutoCreate {
		options = append(options, kgo.AllowAutoTopicCreation())
	} else {
		// A broker that has just started may not know its topics yet.
		options = append(options, kgo.UnknownTopicRetries(-1))
	}
	if settings.MaxBytes > 0 {
		options = append(options, kgo.ProducerBatchMaxBytes(int32(settings.MaxBytes)))
	}
	client, err := kgo.NewClient(options...)
	return &producer{client: client}, err
}

func (p *producer) Send(topic string, messages []agent.Message) error {
	for _, message := range messages {
		record := &kgo.Record{
			Topic: topic, Partition: message.Partition, Key: message.Key, Value: message.Value,
		}
		if message.TimestampMs != 0 {
			record.Timestamp = time.UnixMilli(message.TimestampMs)
		}
		for _, header := range message.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Name, Value: header.Value})
		}
		p.client.Produce(context.Background(), record, func(_ *kgo.Record, err error) { p.failed.Set(err) })
	}
	return nil
}

func (p *producer) Flush(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := p.client.Flush(ctx); err != nil {
		return err
	}
	return p.failed.Take()
}

func (p *producer) Close() error {
	p.client.Close()
	return nil
}

type transactional struct{ producer }

func (f *franz) OpenTransactional(transactionalID string) (agent.TransactionalProducer, error) {
	client, err := kgo.NewClient(f.options(
		kgo.TransactionalID(transactionalID),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(5*time.Millisecond),
		kgo.UnknownTopicRetries(-1),
	)...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := call()
	defer cancel()
	_, _, err = client.ProducerID(ctx)
	return &transactional{producer{client: client}}, err
}

func (t *transactional) Begin() error { return t.client.BeginTransaction() }

func (t *transactional) End(commit bool) error {
	ctx, cancel := call()
	defer cancel()
	how := kgo.TryAbort
	if commit {
		how = kgo.TryCommit
	}
	return t.client.EndTransaction(ctx, how)
}

type consumer struct {
	client   *kgo.Client
	lock     sync.Mutex
	assigned map[agent.TopicPartition]bool
}

func (f *franz) OpenReader(topic string, partition int32, offset int64) (agent.Consumer, error) {
	return f.openReader(topic, partition, offset, kgo.ReadUncommitted())
}

func (f *franz) OpenCommittedReader(topic string, partition int32, offset int64) (agent.Consumer, error) {
	return f.openReader(topic, partition, offset, kgo.ReadCommitted())
}

func (f *franz) openReader(
	topic string, partition int32, offset int64, isolation kgo.IsolationLevel,
) (agent.Consumer, error) {
	start := kgo.NewOffset().At(offset)
	if offset == agent.Earliest {
		start = kgo.NewOffset().AtStart()
	} else if offset == agent.Latest {
		start = kgo.NewOffset().AtEnd()
	}
	partitions := map[string]map[int32]kgo.Offset{topic: {partition: start}}
	client, err := kgo.NewClient(f.options(
		kgo.ConsumePartitions(partitions), kgo.FetchMaxWait(time.Second), kgo.FetchIsolationLevel(isolation),
	)...)
	return &consumer{client: client}, err
}

var balancers = map[string]kgo.GroupBalancer{
	"range":       kgo.RangeBalancer(),
	"roundrobin":  kgo.RoundRobinBalancer(),
	"sticky":      kgo.StickyBalancer(),
	"cooperative": kgo.CooperativeStickyBalancer(),
}

func (f *franz) OpenMember(settings *agent.Request) (agent.Member, error) {
	member := &consumer{assigned: map[agent.TopicPartition]bool{}}
	options := f.options(
		kgo.ConsumerGroup(settings.Group),
		kgo.ConsumeTopics(settings.Topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.FetchMaxWait(time.Second),
		kgo.OnPartitionsAssigned(member.took),
		kgo.OnPartitionsRevoked(member.lost),
		kgo.OnPartitionsLost(member.lost),
	)
	if settings.Strategy == "consumer" {
		options = append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	} else {
		options = append(options,
			kgo.Balancers(balancers[settings.Strategy]),
			kgo.SessionTimeout(6*time.Second),
			kgo.HeartbeatInterval(500*time.Millisecond),
		)
	}
	if settings.InstanceID != "" {
		options = append(options, kgo.InstanceID(settings.InstanceID))
	}
	if settings.Topics[0][0] == '^' {
		options = append(options, kgo.ConsumeRegex())
	}
	client, err := kgo.NewClient(options...)
	member.client = client
	return member, err
}

func (c *consumer) took(_ context.Context, _ *kgo.Client, taken map[string][]int32) {
	c.lock.Lock()
	defer c.lock.Unlock()
	for topic, partitions := range taken {
		for _, partition := range partitions {
			c.assigned[agent.TopicPartition{Topic: topic, Partition: partition}] = true
		}
	}
}

func (c *consumer) lost(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	c.lock.Lock()
	defer c.lock.Unlock()
	for topic, partitions := range lost {
		for _, partition := range partitions {
			delete(c.assigned, agent.TopicPartition{Topic: topic, Partition: partition})
		}
	}
}

func (c *consumer) Assignment() []agent.TopicPartition {
	c.lock.Lock()
	defer c.lock.Unlock()
	assigned := make([]agent.TopicPartition, 0, len(c.assigned))
	for where := range c.assigned {
		assigned = append(assigned, where)
	}
	return assigned
}

func (c *consumer) Poll(timeout time.Duration) ([]agent.Record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	fetches := c.client.PollRecords(ctx, agent.PollMax)
	for _, failure := range fetches.Errors() {
		if !errors.Is(failure.Err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("%s-%d: %w", failure.Topic, failure.Partition, failure.Err)
		}
	}
	records := []agent.Record{}
	fetches.EachRecord(func(record *kgo.Record) {
		headers := []agent.Header{}
		for _, header := range record.Headers {
			headers = append(headers, agent.Header{Name: header.Key, Value: header.Value})
		}
		records = append(records, agent.Record{
			Topic: record.Topic, Partition: record.Partition, Offset: record.Offset,
			TimestampMs: record.Timestamp.UnixMilli(), Key: record.Key, Value: record.Value, Headers: headers,
		})
	})
	return records, nil
}

func (c *consumer) Commit() error {
	ctx, cancel := call()
	defer cancel()
	return c.client.CommitUncommittedOffsets(ctx)
}

func (c *consumer) Close() error {
	c.client.Close()
	return nil
}

func call() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), callTimeout)
}
