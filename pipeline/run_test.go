package pipeline

import (
	"testing"

	"github.com/sealcast/sealcast/internal/proc"
)

func TestWhatAnExitSaysOfTheSource(t *testing.T) {
	for code, outside := range map[int]bool{
		-1: true, 126: true, 127: true, 128 + 9: true, // killed, no such program, a library is missing
		1: false, 69: false, 183: false, 234: false, // ffmpeg's own
	} {
		if got := fromOutside(&proc.ExitError{Code: code}); got != outside {
			t.Errorf("exit status %d: %v", code, got)
		}
	}
}
