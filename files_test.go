package sipacl

import (
	"io/fs"
	"sync"
	"testing/fstest"
)

// lockedFS is a file system that tests change while it is read.
type lockedFS struct {
	mu    sync.Mutex
	files fstest.MapFS
}

func (l *lockedFS) Open(name string) (fs.File, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.files.Open(name)
}

func (l *lockedFS) write(name, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files[name] = &fstest.MapFile{Data: []byte(text)}
}

func (l *lockedFS) remove(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.files, name)
}
