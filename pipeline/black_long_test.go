//go:build faults

package pipeline_test

import "testing"

// Twelve hours, which take some minutes of CPU.
func TestFaultsTwelveHoursOfBlack(t *testing.T) { longBlack(t, 12) }
