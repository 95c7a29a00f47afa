//go:build !faults

package main

import "time"

// longFaults is set by the build tag faults: make faults.
const longFaults = false

// redisCut is how long Redis stays away.
const redisCut = time.Second
