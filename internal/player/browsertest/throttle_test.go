package browsertest

import "testing"

func TestIsOf(t *testing.T) {
	for path, want := range map[string]bool{
		"/stream/00/aa-1/cmaf/v-360p/1.m4s":      true,
		"/stream/00/aa-1/cmaf/v-hevc-360p/1.m4s": true,
		"/stream/00/aa-1/cmaf/v-av1-360p/1.m4s":  true,
		"/stream/00/aa-1/cmaf/v-av1-240p/1.m4s":  false,
		"/stream/00/aa-1/cmaf/v-1360p/1.m4s":     false,
		"/stream/00/aa-1/cmaf/a-0/360.m4s":       false,
	} {
		if got := isOf(path, 360); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}
