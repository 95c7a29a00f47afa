package texttrack

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// decodeText turns a stranger's bytes into UTF-8 with \n as line ends. A byte
// order mark decides; without one, UTF-16 shows itself by zero bytes, and what
// is not UTF-8 is taken for Windows-1252, in which every byte means something.
func decodeText(data []byte) (string, error) {
	if len(data) > MaxBytes {
		return "", tooLarge(0, "the document has more than %d bytes", MaxBytes)
	}
	enc := charset(data)
	if enc != nil {
		decoded, err := enc.NewDecoder().Bytes(data)
		if err != nil {
			return "", unreadable(0, "the document is in no known character set")
		}
		data = decoded
	}
	text := strings.TrimPrefix(string(data), "\ufeff")
	return strings.NewReplacer("\r\n", "\n", "\r", "\n", "\x00", "\ufffd").Replace(text), nil
}

// charset returns nil for UTF-8.
func charset(data []byte) encoding.Encoding {
	little := unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)
	big := unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	switch {
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}):
		return little
	case bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		return big
	case bytes.HasPrefix(data, []byte{0xef, 0xbb, 0xbf}):
		return unicode.UTF8 // what is no UTF-8 becomes U+FFFD
	}
	// The first characters of both formats are ASCII.
	head := data[:min(len(data), 8)]
	if len(head) == 8 && len(data)%2 == 0 {
		even, odd := 0, 0
		for i := 0; i < len(head); i += 2 {
			even, odd = even+zero(head[i]), odd+zero(head[i+1])
		}
		switch {
		case odd == 4 && even == 0:
			return little
		case even == 4 && odd == 0:
			return big
		}
	}
	if utf8.Valid(data) {
		return nil
	}
	return charmap.Windows1252
}

func zero(b byte) int {
	if b == 0 {
		return 1
	}
	return 0
}
