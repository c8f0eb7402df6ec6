// Package records holds the records of README.md beside this file, their verification, and what the programs in Go share.
package records

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	idleLimit  = 30 * time.Second
	excessWait = 300 * time.Millisecond
)

var table = makeTable()

func makeTable() []byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	text := make([]byte, 65_536)
	state := int64(42)
	for position := range text {
		state = (state*1103515245 + 12345) & 0x7fffffff
		text[position] = alphabet[(state>>16)&63]
	}
	return text
}

// Header is a record's header; both clients have a type of their own for it.
type Header struct {
	Name  string
	Value []byte
}

func Key(writer string, index int) []byte {
	if index%50 == 24 {
		return nil
	}
	return fmt.Appendf(nil, "%s:%d", writer, index)
}

func Value(writer string, index int) []byte {
	if index%50 == 49 {
		return nil
	}
	length := 20 + (index*37)%400
	if index%1000 == 500 {
		length = 20_000
	}
	start := (index * 31) % 32_768
	return append(fmt.Appendf(nil, "%s:%d:", writer, index), table[start:start+length]...)
}

func Headers(writer string, index int) []Header {
	bytes := []byte{0x80 | byte(index>>21), 0x80 | byte(index>>14), 0x80 | byte(index>>7), 0x80 | byte(index)}
	return []Header{{"writer", []byte(writer)}, {"index", bytes}}
}

// Range is a part of what `produce` writes: From inclusive, To exclusive.
type Range struct {
	Codec    string
	From, To int
}

func Ranges(text string) []Range {
	var ranges []Range
	for _, part := range strings.Split(text, ",") {
		fields := strings.Split(part, ":")
		ranges = append(ranges, Range{fields[0], number(fields[1]), number(fields[2])})
	}
	return ranges
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return value
}

// Identity tells which record this is, by its value or else its key.
func Identity(key, value []byte) (string, int) {
	source := value
	if source == nil {
		source = key
	}
	fields := strings.SplitN(string(source), ":", 3)
	if len(fields) < 2 {
		return "?", -1
	}
	return fields[0], number(fields[1])
}

type expectation struct {
	writer                     string
	from, to                   int
	indexHeader, partitionRule bool
	seen                       []bool
}

// Verifier takes every record once; its result says what is missing, differs, comes twice or out of order. One goroutine at a time.
type Verifier struct {
	partitions   int
	expectations map[string]*expectation
	newest       map[string]int
	problems     []string
	problemCount int
	missing      int
	quietSince   time.Time
}

func NewVerifier(expect string, partitions int) *Verifier {
	v := &Verifier{partitions: partitions, expectations: map[string]*expectation{}, newest: map[string]int{}, quietSince: time.Now()}
	for _, part := range strings.Split(expect, ",") {
		fields := append(strings.Split(part, ":"), "")
		from, to := number(fields[1]), number(fields[2])
		v.expectations[fields[0]] = &expectation{fields[0], from, to, !strings.Contains(fields[3], "h"), !strings.Contains(fields[3], "p"), make([]bool, to-from)}
		v.missing += to - from
	}
	return v
}

// Over says when `consume` ends: nothing new for a while, a short while once everything was seen.
func (v *Verifier) Over() bool {
	if v.missing == 0 {
		return time.Since(v.quietSince) > excessWait
	}
	return time.Since(v.quietSince) > idleLimit
}

func (v *Verifier) Take(partition int, offset int64, key, value []byte, headers []Header) {
	v.quietSince = time.Now()
	writer, index := Identity(key, value)
	where := fmt.Sprintf("partition %d offset %d (%s:%d)", partition, offset, writer, index)
	expected := v.expectations[writer]
	if expected == nil || index < expected.from || index >= expected.to {
		v.problem(where + ": not expected here")
		return
	}
	if expected.seen[index-expected.from] {
		v.problem(where + ": delivered twice")
		return
	}
	expected.seen[index-expected.from] = true
	v.missing--
	if !same(key, Key(writer, index)) {
		v.problem(where + ": key differs")
	}
	if !same(value, Value(writer, index)) {
		v.problem(where + ": value differs")
	}
	wanted := Headers(writer, index)
	if !expected.indexHeader {
		wanted = wanted[:1]
	}
	if !sameHeaders(headers, wanted) {
		v.problem(fmt.Sprintf("%s: headers differ: %v", where, headers))
	}
	if expected.partitionRule && partition != index%v.partitions {
		v.problem(where + ": wrong partition")
	}
	stream := fmt.Sprintf("%s/%d", writer, partition)
	if newest, known := v.newest[stream]; known && index <= newest {
		v.problem(fmt.Sprintf("%s: out of order after %d", where, newest))
	}
	v.newest[stream] = index
}

func same(got, wanted []byte) bool {
	return (got == nil) == (wanted == nil) && bytes.Equal(got, wanted)
}

func sameHeaders(got, wanted []Header) bool {
	if len(got) != len(wanted) {
		return false
	}
	for at := range got {
		if got[at].Name != wanted[at].Name || !bytes.Equal(got[at].Value, wanted[at].Value) {
			return false
		}
	}
	return true
}

func (v *Verifier) problem(text string) {
	v.problemCount++
	if len(v.problems) < 10 {
		v.problems = append(v.problems, text)
	}
}

// Result is what `consume` prints.
func (v *Verifier) Result() map[string]any {
	records := 0
	problems := append([]string{}, v.problems...)
	for _, expected := range v.expectations {
		seen, first := 0, -1
		for at, one := range expected.seen {
			if one {
				seen++
			} else if first < 0 {
				first = expected.from + at
			}
		}
		records += seen
		if first >= 0 {
			problems = append(problems, fmt.Sprintf("%d records of %s missing, the first is %d", len(expected.seen)-seen, expected.writer, first))
		}
	}
	count := v.problemCount + v.missing
	return map[string]any{"ok": count == 0, "records": records, "problemCount": count, "problems": problems}
}

// PrintAssigned and PrintRecord are the output of `member`.
func PrintAssigned(partitions []int32) {
	sort.Slice(partitions, func(a, b int) bool { return partitions[a] < partitions[b] })
	texts := make([]string, len(partitions))
	for at, partition := range partitions {
		texts[at] = strconv.Itoa(int(partition))
	}
	fmt.Println("A", strings.Join(texts, ","))
}

func PrintRecord(partition int, offset int64, key, value []byte) {
	writer, index := Identity(key, value)
	fmt.Println("R", partition, offset, writer, index)
}

// Told says whether stdin has ended: the driver's word for `leave now`.
func Told() *atomic.Bool {
	var told atomic.Bool
	go func() {
		reader := bufio.NewReader(os.Stdin)
		for {
			if _, err := reader.ReadByte(); err != nil {
				told.Store(true)
				return
			}
		}
	}()
	return &told
}

// Options are the program's `--name value`.
type Options map[string]string

func (o Options) Number(name string) int { return number(o[name]) }

// RunProgram runs the verb that the arguments name and prints its result.
func RunProgram(verbs map[string]func(Options) (map[string]any, error)) {
	options := Options{}
	for at := 2; at+1 < len(os.Args); at += 2 {
		options[strings.TrimPrefix(os.Args[at], "--")] = os.Args[at+1]
	}
	verb, known := verbs[os.Args[1]]
	if !known {
		fmt.Printf("{\"ok\":false,\"problems\":[\"no verb %s\"]}\n", os.Args[1])
		os.Exit(1)
	}
	result, err := verb(options)
	if err != nil {
		result = map[string]any{"ok": false, "problems": []string{err.Error()}}
	}
	if result == nil {
		result = map[string]any{}
	}
	if _, known := result["ok"]; !known {
		result["ok"] = true
	}
	text, _ := json.Marshal(result)
	fmt.Println(string(text))
	if result["ok"] != true {
		os.Exit(1)
	}
}
