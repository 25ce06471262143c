// The interop agent of sarama.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"pybroker.interop/agents/agent"
)

const backoff = 200 * time.Millisecond

func main() {
	sarama.Logger = log.New(os.Stderr, "", log.LstdFlags)
	agent.Serve(&client{[]string{os.Args[1]}}, "github.com/IBM/sarama")
}

type client struct{ bootstrap []string }

func config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Metadata.Retry.Max = 200
	config.Metadata.Retry.Backoff = backoff
	config.Metadata.RefreshFrequency = time.Second
	config.Metadata.AllowAutoTopicCreation = false
	config.Consumer.Return.Errors = true
	config.Consumer.Retry.Backoff = backoff
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	return config
}

func (c *client) admin(use func(sarama.ClusterAdmin) error) error {
	admin, err := sarama.NewClusterAdmin(c.bootstrap, config())
	if err != nil {
		return err
	}
	return errors.Join(use(admin), admin.Close())
}

func (c *client) CreateTopic(topic string, partitions int32, configs map[string]string) error {
	entries := map[string]*string{}
	for key, value := range configs {
		entries[key] = &value
	}
	detail := &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: entries}
	return c.admin(func(admin sarama.ClusterAdmin) error { return admin.CreateTopic(topic, detail, false) })
}

func (c *client) DeleteTopic(topic string) error {
	return c.admin(func(admin sarama.ClusterAdmin) error { return admin.DeleteTopic(topic) })
}

func (c *client) Topics() (map[string]int, error) {
	topics := map[string]int{}
	return topics, c.admin(func(admin sarama.ClusterAdmin) error {
		listed, err := admin.ListTopics()
		for name, detail := range listed {
			topics[name] = int(detail.NumPartitions)
		}
		return err
	})
}

func (c *client) OffsetAt(topic string, partition int32, timestampMs int64) (int64, error) {
	connection, err := sarama.NewClient(c.bootstrap, config())
	if err != nil {
		return 0, err
	}
	offset, err := connection.GetOffset(topic, partition, timestampMs)
	return offset, errors.Join(err, connection.Close())
}

func (c *client) EndOffset(topic string, partition int32) (int64, error) {
	return c.OffsetAt(topic, partition, sarama.OffsetNewest)
}

func (c *client) Committed(group, topic string, partition int32) (int64, error) {
	offset := int64(-1)
	return offset, c.admin(func(admin sarama.ClusterAdmin) error {
		answer, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {partition}})
		if err != nil {
			return err
		}
		block := answer.GetBlock(topic, partition)
		if block == nil {
			return errors.New("no answer for this partition")
		}
		if block.Err != sarama.ErrNoError {
			return block.Err
		}
		offset = block.Offset
		return nil
	})
}

func (c *client) SetCommitted(group, topic string, partition int32, offset int64) error {
	offsets := map[string]map[int32]sarama.OffsetAndMetadata{
		topic: {partition: {Offset: offset, LeaderEpoch: -1}},
	}
	return c.admin(func(admin sarama.ClusterAdmin) error {
		answer, err := admin.AlterConsumerGroupOffsets(group, offsets, nil)
		if err != nil {
			return err
		}
		if code := answer.Errors[topic][partition]; code != sarama.ErrNoError {
			return code
		}
		return nil
	})
}

var codecs = map[string]sarama.CompressionCodec{
	"none":   sarama.CompressionNone,
	"gzip":   sarama.CompressionGZIP,
	"snappy": sarama.CompressionSnappy,
	"lz4":    sarama.CompressionLZ4,
	"zstd":   sarama.CompressionZSTD,
}

var acks = map[string]sarama.RequiredAcks{
	"0": sarama.NoResponse, "1": sarama.WaitForLocal, "all": sarama.WaitForAll,
}

type producer struct {
	producer sarama.AsyncProducer
	pending  sync.WaitGroup
	failed   agent.FirstError
}

func (c *client) OpenProducer(settings *agent.Request) (agent.Producer, error) {
	config := config()
	config.Producer.RequiredAcks = acks[settings.Acks]
	config.Producer.Compression = codecs[settings.Codec]
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Return.Successes = true
	config.Producer.Return.Errors = true
	config.Producer.Flush.Frequency = 5 * time.Millisecond
	config.Producer.Retry.Max = 200
	config.Producer.Retry.Backoff = backoff
	config.Net.MaxOpenRequests = 1
	config.Producer.Idempotent = settings.Idempotent
	if settings.AutoCreate {
		config.Metadata.AllowAutoTopicCreation = true
		config.Producer.Retry.Max = 3
		config.Metadata.Retry.Max = 3
	}
	if settings.MaxBytes > 0 {
		config.Producer.MaxMessageBytes = settings.MaxBytes
	}
	opened, err := sarama.NewAsyncProducer(c.bootstrap, config)
	if err != nil {
		return nil, err
	}
	p := &producer{producer: opened}
	go func() {
		for range opened.Successes() {
			p.pending.Done()
		}
	}()
	go func() {
		for failure := range opened.Errors() {
			p.failed.Set(failure.Err)
			p.pending.Done()
		}
	}()
	return p, nil
}

func (p *producer) Send(topic string, messages []agent.Message) error {
	for _, message := range messages {
		record := &sarama.ProducerMessage{Topic: topic, Partition: message.Partition}
		if message.Key != nil {
			record.Key = sarama.ByteEncoder(message.Key)
		}
		if message.Value != nil {
			record.Value = sarama.ByteEncoder(message.Value)
		}
		if message.TimestampMs != 0 {
			record.Timestamp = time.UnixMilli(message.TimestampMs)
		}
		for _, header := range message.Headers {
			record.Headers = append(record.Headers, sarama.RecordHeader{Key: []byte(header.Name), Value: header.Value})
		}
		p.pending.Add(1)
		p.producer.Input() <- record
	}
	return nil
}

func (p *producer) Flush(timeout time.Duration) error {
	done := make(chan struct{})
	go func() {
		p.pending.Wait()
		close(done)
	}()
	select {
	case <-done:
		return p.failed.Take()
	case <-time.After(timeout):
		return errors.New("not acknowledged in time")
	}
}

func (p *producer) Close() error {
	p.producer.AsyncClose()
	return nil
}

type reader struct {
	*agent.Buffer
	consumer  sarama.Consumer
	partition sarama.PartitionConsumer
}

func (c *client) OpenReader(topic string, partition int32, offset int64) (agent.Consumer, error) {
	opened, err := sarama.NewConsumer(c.bootstrap, config())
	if err != nil {
		return nil, err
	}
	// Sarama's own words for earliest and latest are the protocol's numbers, as the suite's are.
	part, err := opened.ConsumePartition(topic, partition, offset)
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	r := &reader{agent.NewBuffer(), opened, part}
	go func() {
		for message := range part.Messages() {
			r.Add(record(message))
		}
	}()
	go func() {
		for failure := range part.Errors() {
			log.Println("reader:", failure) // it goes on by itself
		}
	}()
	return r, nil
}

func (r *reader) Close() error {
	return errors.Join(r.partition.Close(), r.consumer.Close())
}

var strategies = map[string]func() sarama.BalanceStrategy{
	"range":       sarama.NewBalanceStrategyRange,
	"roundrobin":  sarama.NewBalanceStrategyRoundRobin,
	"sticky":      sarama.NewBalanceStrategySticky,
	"cooperative": sarama.NewBalanceStrategyCooperativeSticky,
}

type member struct {
	*agent.Buffer
	group    sarama.ConsumerGroup
	cancel   context.CancelFunc
	ended    chan struct{}
	lock     sync.Mutex
	session  sarama.ConsumerGroupSession
	assigned map[agent.TopicPartition]bool
}

func (c *client) OpenMember(settings *agent.Request) (agent.Member, error) {
	config := config()
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategies[settings.Strategy]()}
	config.Consumer.Group.Session.Timeout = 6 * time.Second
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	config.Consumer.Group.InstanceId = settings.InstanceID
	config.Consumer.Offsets.AutoCommit.Enable = false
	group, err := sarama.NewConsumerGroup(c.bootstrap, settings.Group, config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{
		Buffer: agent.NewBuffer(), group: group, cancel: cancel, ended: make(chan struct{}),
		assigned: map[agent.TopicPartition]bool{},
	}
	go m.run(ctx, settings.Topics)
	go func() {
		for failure := range group.Errors() {
			log.Println("member:", failure)
		}
	}()
	return m, nil
}

func (m *member) run(ctx context.Context, topics []string) {
	defer close(m.ended)
	for ctx.Err() == nil {
		if err := m.group.Consume(ctx, topics, m); err != nil && ctx.Err() == nil {
			log.Println("consume:", err)
			time.Sleep(backoff)
		}
	}
}

// Setup is sarama's word for the begin of a session.
func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.session = session
	return nil
}

// Cleanup is sarama's word for the end of a session.
func (m *member) Cleanup(sarama.ConsumerGroupSession) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.session = nil
	return nil
}

// ConsumeClaim runs as long as the partition is this member's.
func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	where := agent.TopicPartition{Topic: claim.Topic(), Partition: claim.Partition()}
	m.hold(where, true)
	defer m.hold(where, false)
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			m.Add(record(message))
		case <-session.Context().Done():
			return nil
		}
	}
}

func (m *member) hold(where agent.TopicPartition, held bool) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if held {
		m.assigned[where] = true
	} else {
		delete(m.assigned, where)
		m.Forget(where)
	}
}

func (m *member) Assignment() []agent.TopicPartition {
	m.lock.Lock()
	defer m.lock.Unlock()
	assigned := make([]agent.TopicPartition, 0, len(m.assigned))
	for where := range m.assigned {
		assigned = append(assigned, where)
	}
	return assigned
}

func (m *member) Commit() error {
	m.lock.Lock()
	session := m.session
	m.lock.Unlock()
	if session == nil {
		return errors.New("no session")
	}
	for where, offset := range m.Positions() {
		session.MarkOffset(where.Topic, where.Partition, offset, "")
	}
	session.Commit()
	return nil
}

func (m *member) Close() error {
	m.cancel()
	<-m.ended
	if err := m.group.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

func record(message *sarama.ConsumerMessage) agent.Record {
	headers := []agent.Header{}
	for _, header := range message.Headers {
		headers = append(headers, agent.Header{Name: string(header.Key), Value: header.Value})
	}
	return agent.Record{
		Topic: message.Topic, Partition: message.Partition, Offset: message.Offset,
		TimestampMs: message.Timestamp.UnixMilli(), Key: message.Key, Value: message.Value, Headers: headers,
	}
}
