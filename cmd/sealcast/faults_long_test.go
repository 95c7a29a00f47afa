//go:build faults

package main

import "time"

// longFaults is set by the build tag faults: make faults.
const longFaults = true

// redisCut is how long Redis stays away.
const redisCut = 8 * time.Second
