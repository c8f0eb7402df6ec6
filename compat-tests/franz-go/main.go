// franz-go; the verbs are those of ../records/README.md.
package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"compat/records"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func main() {
	records.RunProgram(map[string]func(records.Options) (map[string]any, error){
		"create": create, "produce": produce, "consume": consume, "member": member,
	})
}

func connect(o records.Options, more ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(strings.Split(o["bootstrap"], ",")...), kgo.ClientID("compat-franz-go")}, more...)...)
}

func create(o records.Options) (map[string]any, error) {
	client, err := connect(o)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	_, err = kadm.NewClient(client).CreateTopic(context.Background(), int32(o.Number("partitions")), 1, nil, o["topic"])
	return nil, err
}

func produce(o records.Options) (map[string]any, error) {
	count := 0
	for _, part := range records.Ranges(o["ranges"]) {
		client, err := connect(o, kgo.ProducerBatchCompression(codecs[part.Codec]), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5*time.Millisecond))
		if err != nil {
			return nil, err
		}
		failed := make(chan error, 1)
		for index := part.From; index < part.To; index++ {
			record := &kgo.Record{
				Topic: o["topic"], Partition: int32(index % o.Number("partitions")), Key: records.Key(o["writer"], index), Value: records.Value(o["writer"], index),
			}
			for _, header := range records.Headers(o["writer"], index) {
				record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Name, Value: header.Value})
			}
			client.Produce(context.Background(), record, func(_ *kgo.Record, err error) {
				if err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			})
			count++
		}
		err = client.Flush(context.Background())
		client.Close()
		select {
		case err = <-failed:
		default:
		}
		if err != nil {
			return nil, err
		}
	}
	return map[string]any{"records": count}, nil
}

func take(fetches kgo.Fetches, each func(*kgo.Record)) error {
	for _, failure := range fetches.Errors() {
		if failure.Err != context.DeadlineExceeded {
			return fmt.Errorf("fetch of %s-%d: %w", failure.Topic, failure.Partition, failure.Err)
		}
	}
	fetches.EachRecord(each)
	return nil
}

func poll(client *kgo.Client) kgo.Fetches {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	return client.PollFetches(ctx)
}

func consume(o records.Options) (map[string]any, error) {
	client, err := connect(o, kgo.ConsumerGroup(o["group"]), kgo.ConsumeTopics(strings.Split(o["topic"], ",")...), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	verifier := records.NewVerifier(o["expect"], o.Number("partitions"))
	for !verifier.Over() {
		err := take(poll(client), func(record *kgo.Record) {
			headers := make([]records.Header, len(record.Headers))
			for at, header := range record.Headers {
				headers[at] = records.Header{Name: header.Key, Value: header.Value}
			}
			verifier.Take(int(record.Partition), record.Offset, record.Key, record.Value, headers)
		})
		if err != nil {
			return nil, err
		}
	}
	if err := client.CommitUncommittedOffsets(context.Background()); err != nil {
		return nil, err
	}
	return verifier.Result(), nil
}

func member(o records.Options) (map[string]any, error) {
	timeout := 10 * time.Second
	if o["sessiontimeout"] != "" {
		timeout = time.Duration(o.Number("sessiontimeout")) * time.Millisecond
	}
	balancer := kgo.RangeBalancer()
	if o["assignor"] == "cooperative-sticky" {
		balancer = kgo.CooperativeStickyBalancer()
	}
	// The client calls its callbacks one at a time.
	mine := map[int32]bool{}
	change := func(partitions []int32, isMine bool) {
		for _, partition := range partitions {
			mine[partition] = isMine
		}
		records.PrintAssigned(slices.DeleteFunc(slices.Collect(maps.Keys(mine)), func(partition int32) bool { return !mine[partition] }))
	}
	client, err := connect(o, kgo.ConsumerGroup(o["group"]), kgo.ConsumeTopics(o["topic"]), kgo.Balancers(balancer),
		kgo.SessionTimeout(timeout), kgo.HeartbeatInterval(500*time.Millisecond), kgo.AutoCommitInterval(200*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond), kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, assigned map[string][]int32) { change(assigned[o["topic"]], true) }),
		kgo.OnPartitionsRevoked(func(ctx context.Context, client *kgo.Client, revoked map[string][]int32) {
			_ = client.CommitUncommittedOffsets(ctx)
			change(revoked[o["topic"]], false)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { change(lost[o["topic"]], false) }))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	for told := records.Told(); !told.Load(); {
		err := take(poll(client), func(record *kgo.Record) { records.PrintRecord(int(record.Partition), record.Offset, record.Key, record.Value) })
		if err != nil {
			return nil, err
		}
		// A rebalance may be under way; the commit of the next round, or that of the revocation, covers these records, too.
		_ = client.CommitUncommittedOffsets(context.Background())
	}
	return nil, nil
}
