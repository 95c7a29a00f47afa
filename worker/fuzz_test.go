package worker

import (
	"bytes"
	"strings"
	"testing"
)

// Property: a doorbell that is taken names a well-formed job and a dispatch,
// and is the same after it is rung again; all else is refused with a code.
func FuzzParseDoorbell(f *testing.F) {
	for _, s := range []string{
		`{"job_id":"a","dispatch_seq":1}`, `{"job_id":"a","dispatch_seq":-1}`, `{"job_id":"a b","dispatch_seq":9223372036854775807}`,
		`{"job_id":"a","job_id":"b","dispatch_seq":1}`, `{"job_id":null}`, `[]`, `{"dispatch_seq":1e3,"job_id":"x"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, bad := parseDoorbell(data)
		if bad != nil {
			if bad.Code == "" || bad.Message == "" || len(bad.Message) > 400 {
				t.Fatalf("refused with %+v", bad)
			}
			return
		}
		if !idPattern.MatchString(d.JobID) || d.DispatchSeq < 1 {
			t.Fatalf("taken: %+v", d)
		}
		if again, bad := parseDoorbell(d.payload()); bad != nil || again != d {
			t.Fatalf("%+v comes back as %+v, %v", d, again, bad)
		}
	})
}

// Property: the strict decode takes exactly one object; taken twice in a row,
// or with anything behind it, it is refused. A refusal is short, has a code and
// one line.
func FuzzDecodeObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":[{"b":1}]}`, `{"a":1,"A":2}`, `[[[[[[[[[[]]]]]]]]]]`, `{"\ud800":1}`, "\ufeff{}", `{"a":1e999}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, bad := decodeObject(data)
		if bad != nil {
			if bad.Code == "" || len(bad.Message) > 500 || strings.ContainsAny(bad.Message, "\r\n") {
				t.Fatalf("refused with %+v", bad)
			}
			return
		}
		if _, bad := decodeObject(bytes.Repeat(data, 2)); bad == nil {
			t.Fatalf("%q is taken twice", data)
		}
		if _, bad := decodeObject(append(bytes.Clone(data), 0)); bad == nil {
			t.Fatalf("%q is taken with a NUL behind", data)
		}
	})
}
