//go:build race

package sipacl

// raceDetector says that sync.Pool loses things at random: what uses one
// allocates now and then.
const raceDetector = true
