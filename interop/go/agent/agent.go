// Package agent serves the interop suite's lines: one JSON object in, one out. A client library fills in Client.
package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"
)

// Special offsets of OpenReader.
const (
	Earliest = -2
	Latest   = -1
)

// PollMax bounds the records of one answer.
const PollMax = 2000

// Header of a record; a nil value is null.
type Header struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

// Message to send to a given partition; TimestampMs 0 leaves it to the library.
type Message struct {
	Partition   int32    `json:"partition"`
	Key         []byte   `json:"key"`
	Value       []byte   `json:"value"`
	Headers     []Header `json:"headers"`
	TimestampMs int64    `json:"timestampMs"`
}

// Record as the library handed it out.
type Record struct {
	Topic       string   `json:"topic"`
	Partition   int32    `json:"partition"`
	Offset      int64    `json:"offset"`
	TimestampMs int64    `json:"timestampMs"`
	Key         []byte   `json:"key"`
	Value       []byte   `json:"value"`
	Headers     []Header `json:"headers"`
}

// TopicPartition of an assignment.
type TopicPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

// Request is the union of all calls' arguments.
type Request struct {
	Call        string            `json:"call"`
	ID          int               `json:"id"`
	Topic       string            `json:"topic"`
	Topics      []string          `json:"topics"`
	Partition   int32             `json:"partition"`
	Partitions  int32             `json:"partitions"`
	Configs     map[string]string `json:"configs"`
	Offset      int64             `json:"offset"`
	TimestampMs int64             `json:"timestampMs"`
	TimeoutMs   int64             `json:"timeoutMs"`
	Messages    []Message         `json:"messages"`
	Codec       string            `json:"codec"`
	Acks        string            `json:"acks"`
	Idempotent  bool              `json:"idempotent"`
	AutoCreate  bool              `json:"autoCreate"`
	MaxBytes    int               `json:"maxBytes"`
	Group       string            `json:"group"`
	Strategy    string            `json:"strategy"`
	InstanceID  string            `json:"instanceId"`
	TransID     string            `json:"transactionalId"`
	Commit      bool              `json:"commit"`
}

// Timeout of the call.
func (r *Request) Timeout() time.Duration { return time.Duration(r.TimeoutMs) * time.Millisecond }

// Client is what a library has to do.
type Client interface {
	CreateTopic(topic string, partitions int32, configs map[string]string) error
	DeleteTopic(topic string) error
	Topics() (map[string]int, error)
	OpenProducer(settings *Request) (Producer, error)
	OpenReader(topic string, partition int32, offset int64) (Consumer, error)
	OpenMember(settings *Request) (Member, error)
	OffsetAt(topic string, partition int32, timestampMs int64) (int64, error)
	EndOffset(topic string, partition int32) (int64, error)
	Committed(group, topic string, partition int32) (int64, error)
	SetCommitted(group, topic string, partition int32, offset int64) error
}

// Producer may return from Send before the records are acknowledged; Flush gives the first failure.
type Producer interface {
	Send(topic string, messages []Message) error
	Flush(timeout time.Duration) error
	Close() error
}

// Transactional is a client whose producers can have transactions.
type Transactional interface {
	OpenTransactional(transactionalID string) (TransactionalProducer, error)
	OpenCommittedReader(topic string, partition int32, offset int64) (Consumer, error)
}

// TransactionalProducer has its epoch when it has been opened.
type TransactionalProducer interface {
	Producer
	Begin() error
	End(commit bool) error
}

// Consumer reads; Poll waits for the first record at most the timeout.
type Consumer interface {
	Poll(timeout time.Duration) ([]Record, error)
	Close() error
}

// Member is a consumer of a group; Commit takes what Poll has given.
type Member interface {
	Consumer
	Assignment() []TopicPartition
	Commit() error
}

type server struct {
	client    Client
	module    string
	producers map[int]Producer
	consumers map[int]Consumer
	nextID    int
}

// Serve answers calls until the input ends. The version told is the one of `module` in this program.
func Serve(client Client, module string) {
	s := &server{client, module, map[int]Producer{}, map[int]Consumer{}, 0}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	encoder := json.NewEncoder(out)
	decoder := json.NewDecoder(in)
	for {
		request := &Request{}
		if decoder.Decode(request) != nil {
			return
		}
		answer, err := s.call(request)
		if err != nil {
			answer = map[string]any{"error": err.Error()}
		} else if answer == nil {
			answer = map[string]any{}
		}
		if encoder.Encode(answer) != nil || out.Flush() != nil {
			return
		}
	}
}

func (s *server) call(r *Request) (map[string]any, error) {
	switch r.Call {
	case "version":
		return map[string]any{"version": version(s.module)}, nil
	case "createTopic":
		return nil, s.client.CreateTopic(r.Topic, r.Partitions, r.Configs)
	case "deleteTopic":
		return nil, s.client.DeleteTopic(r.Topic)
	case "topics":
		topics, err := s.client.Topics()
		return map[string]any{"topics": topics}, err
	case "offsetAt":
		offset, err := s.client.OffsetAt(r.Topic, r.Partition, r.TimestampMs)
		return map[string]any{"offset": offset}, err
	case "endOffset":
		offset, err := s.client.EndOffset(r.Topic, r.Partition)
		return map[string]any{"offset": offset}, err
	case "committed":
		offset, err := s.client.Committed(r.Group, r.Topic, r.Partition)
		return map[string]any{"offset": offset}, err
	case "setCommitted":
		return nil, s.client.SetCommitted(r.Group, r.Topic, r.Partition, r.Offset)
	case "openProducer", "send", "flush", "closeProducer", "openTransactional", "begin", "end":
		return s.callProducer(r)
	case "openCommittedReader", "openReader", "openMember", "poll", "assignment", "commit", "closeConsumer":
		return s.callConsumer(r)
	}
	return nil, fmt.Errorf("unknown call %s", r.Call)
}

func (s *server) callProducer(r *Request) (map[string]any, error) {
	switch r.Call {
	case "openProducer":
		producer, err := s.client.OpenProducer(r)
		return s.openedProducer(producer, err)
	case "openTransactional":
		producer, err := s.client.(Transactional).OpenTransactional(r.TransID)
		return s.openedProducer(producer, err)
	}
	producer, found := s.producers[r.ID]
	if !found {
		return nil, errors.New("no such producer")
	}
	switch r.Call {
	case "send":
		return nil, producer.Send(r.Topic, r.Messages)
	case "flush":
		return nil, producer.Flush(r.Timeout())
	case "begin":
		return nil, producer.(TransactionalProducer).Begin()
	case "end":
		return nil, producer.(TransactionalProducer).End(r.Commit)
	}
	delete(s.producers, r.ID)
	return nil, producer.Close()
}

func (s *server) openedProducer(producer Producer, err error) (map[string]any, error) {
	if err != nil {
		return nil, err
	}
	s.nextID++
	s.producers[s.nextID] = producer
	return map[string]any{"id": s.nextID}, nil
}

func (s *server) callConsumer(r *Request) (map[string]any, error) {
	switch r.Call {
	case "openReader":
		reader, err := s.client.OpenReader(r.Topic, r.Partition, r.Offset)
		return s.opened(reader, err)
	case "openCommittedReader":
		reader, err := s.client.(Transactional).OpenCommittedReader(r.Topic, r.Partition, r.Offset)
		return s.opened(reader, err)
	case "openMember":
		member, err := s.client.OpenMember(r)
		return s.opened(member, err)
	}
	consumer, found := s.consumers[r.ID]
	if !found {
		return nil, errors.New("no such consumer")
	}
	switch r.Call {
	case "poll":
		records, err := consumer.Poll(r.Timeout())
		return map[string]any{"records": records}, err
	case "assignment":
		return map[string]any{"assigned": consumer.(Member).Assignment()}, nil
	case "commit":
		return nil, consumer.(Member).Commit()
	}
	delete(s.consumers, r.ID)
	return nil, consumer.Close()
}

func (s *server) opened(consumer Consumer, err error) (map[string]any, error) {
	if err != nil {
		return nil, err
	}
	s.nextID++
	s.consumers[s.nextID] = consumer
	return map[string]any{"id": s.nextID}, nil
}

func version(module string) string {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == module {
			return dependency.Version
		}
	}
	return "?"
}
