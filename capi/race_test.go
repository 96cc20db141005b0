//go:build race

package capi_test

const raceEnabled = true
