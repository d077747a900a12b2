//go:build !race

package sipacl

const raceDetector = false
