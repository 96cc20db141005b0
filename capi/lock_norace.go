//go:build !race

package capi

// Without the race detector these do nothing (lock_race.go).
func (l Lock) acquired() {}
func (l Lock) released() {}
