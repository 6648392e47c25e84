//go:build race

package model

// raceEnabled tells that everything takes ten times as long.
const raceEnabled = true
