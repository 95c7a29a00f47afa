package api

import "testing"

// FuzzParseRange: whatever the header, what is sent lies inside the content.
func FuzzParseRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-", "bytes=-1", "bytes=5-3", "bytes=0-0,1-1", "bytes=9223372036854775807-", "bytes=0-18446744073709551616", "x=1-2", ""} {
		f.Add(seed, int64(10))
		f.Add(seed, int64(0))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			size = -(size + 1)
		}
		off, n, outcome := parseRange(header, size)
		switch outcome {
		case rangeWhole:
			if off != 0 || n != size {
				t.Fatalf("whole is %d+%d of %d", off, n, size)
			}
		case rangeOne:
			if off < 0 || n <= 0 || n > size || off > size-n {
				t.Fatalf("%d+%d of %d", off, n, size)
			}
		case rangeNone:
			if off != 0 || n != 0 {
				t.Fatalf("none is %d+%d", off, n)
			}
		}
	})
}
