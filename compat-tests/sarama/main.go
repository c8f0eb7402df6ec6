// sarama; the verbs are those of ../records/README.md.
package main

import (
	"context"
	"strings"
	"sync"
	"time"

	"compat/records"

	"github.com/IBM/sarama"
)

var codecs = map[string]sarama.CompressionCodec{
	"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
}

func main() {
	records.RunProgram(map[string]func(records.Options) (map[string]any, error){
		"create": create, "produce": produce, "consume": consume, "member": member,
	})
}

func config() *sarama.Config {
	config := sarama.NewConfig()
	config.ClientID = "compat-sarama"
	config.Version = sarama.MaxVersion
	return config
}

func addresses(o records.Options) []string { return strings.Split(o["bootstrap"], ",") }

func create(o records.Options) (map[string]any, error) {
	admin, err := sarama.NewClusterAdmin(addresses(o), config())
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	return nil, admin.CreateTopic(o["topic"], &sarama.TopicDetail{NumPartitions: int32(o.Number("partitions")), ReplicationFactor: 1}, false)
}

func produce(o records.Options) (map[string]any, error) {
	count := 0
	for _, part := range records.Ranges(o["ranges"]) {
		config := config()
		config.Net.MaxOpenRequests = 1
		config.Producer.Idempotent = true
		config.Producer.RequiredAcks = sarama.WaitForAll
		config.Producer.Retry.Max = 20
		config.Producer.Return.Successes = true
		config.Producer.Compression = codecs[part.Codec]
		config.Producer.Partitioner = sarama.NewManualPartitioner
		config.Producer.Flush.Frequency = 5 * time.Millisecond
		producer, err := sarama.NewAsyncProducer(addresses(o), config)
		if err != nil {
			return nil, err
		}
		go func() {
			for index := part.From; index < part.To; index++ {
				producer.Input() <- message(o["topic"], o["writer"], index, o.Number("partitions"))
			}
		}()
		for answered := part.From; answered < part.To && err == nil; answered++ {
			select {
			case <-producer.Successes():
				count++
			case failure := <-producer.Errors():
				err = failure.Err
			}
		}
		producer.AsyncClose()
		if err != nil {
			return nil, err
		}
	}
	return map[string]any{"records": count}, nil
}

func message(topic, writer string, index, partitions int) *sarama.ProducerMessage {
	message := &sarama.ProducerMessage{Topic: topic, Partition: int32(index % partitions)}
	if key := records.Key(writer, index); key != nil {
		message.Key = sarama.ByteEncoder(key)
	}
	if value := records.Value(writer, index); value != nil {
		message.Value = sarama.ByteEncoder(value)
	}
	for _, header := range records.Headers(writer, index) {
		message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Name), Value: header.Value})
	}
	return message
}

// handler hands all claims' records to one function, one at a time.
type handler struct {
	mutex   sync.Mutex
	onSetup func(sarama.ConsumerGroupSession)
	onEnd   func(sarama.ConsumerGroupSession)
	each    func(*sarama.ConsumerMessage)
}

func (h *handler) Setup(session sarama.ConsumerGroupSession) error {
	h.onSetup(session)
	return nil
}

func (h *handler) Cleanup(session sarama.ConsumerGroupSession) error {
	h.onEnd(session)
	session.Commit()
	return nil
}

func (h *handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			h.mutex.Lock()
			h.each(message)
			h.mutex.Unlock()
			session.MarkMessage(message, "")
		case <-session.Context().Done():
			return nil
		}
	}
}

// consumeUntil is in the group until `over`, then commits and leaves.
func consumeUntil(o records.Options, config *sarama.Config, h *handler, over func() bool) error {
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRange()}
	group, err := sarama.NewConsumerGroup(addresses(o), o["group"], config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if err := group.Consume(ctx, strings.Split(o["topic"], ","), h); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	for {
		h.mutex.Lock()
		done := over()
		h.mutex.Unlock()
		if done {
			break
		}
		select {
		case err := <-failed:
			cancel()
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
	cancel()
	<-failed
	return group.Close()
}

func consume(o records.Options) (map[string]any, error) {
	verifier := records.NewVerifier(o["expect"], o.Number("partitions"))
	nothing := func(sarama.ConsumerGroupSession) {}
	h := &handler{onSetup: nothing, onEnd: nothing, each: func(message *sarama.ConsumerMessage) {
		headers := make([]records.Header, len(message.Headers))
		for at, header := range message.Headers {
			headers[at] = records.Header{Name: string(header.Key), Value: header.Value}
		}
		verifier.Take(int(message.Partition), message.Offset, message.Key, message.Value, headers)
	}}
	if err := consumeUntil(o, config(), h, verifier.Over); err != nil {
		return nil, err
	}
	return verifier.Result(), nil
}

func member(o records.Options) (map[string]any, error) {
	config := config()
	config.Consumer.Group.Session.Timeout = 10 * time.Second
	if o["sessiontimeout"] != "" {
		config.Consumer.Group.Session.Timeout = time.Duration(o.Number("sessiontimeout")) * time.Millisecond
	}
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	config.Consumer.Offsets.AutoCommit.Interval = 200 * time.Millisecond
	h := &handler{
		onSetup: func(session sarama.ConsumerGroupSession) { records.PrintAssigned(session.Claims()[o["topic"]]) },
		onEnd:   func(sarama.ConsumerGroupSession) { records.PrintAssigned(nil) },
		each:    func(message *sarama.ConsumerMessage) { records.PrintRecord(int(message.Partition), message.Offset, message.Key, message.Value) },
	}
	return nil, consumeUntil(o, config, h, records.Told().Load)
}
