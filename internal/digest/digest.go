// Package digest identifies the content of a list, the same on every machine:
// two servers with equal digests have equal rows in the same order.
package digest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"net/netip"
)

// Hash takes the fields of rows, one after the other. Every field is written
// with its length, so that "ab", "c" differs from "a", "bc". The zero Hash is
// empty.
type Hash struct {
	sum hash.Hash
	buf []byte // not yet in sum
}

const full = 8 << 10

// Text adds a text.
func (h *Hash) Text(s string) {
	h.Number(uint64(len(s)))
	h.buf = append(h.buf, s...)
}

// Number adds a number.
func (h *Hash) Number(n uint64) {
	if len(h.buf) > full {
		h.flush()
	}
	h.buf = binary.AppendUvarint(h.buf, n)
}

// Flag adds a truth.
func (h *Hash) Flag(b bool) {
	n := uint64(0)
	if b {
		n = 1
	}
	h.Number(n)
}

// Addr adds an address; the zero Addr too.
func (h *Hash) Addr(a netip.Addr) {
	b := a.As16()
	h.Number(uint64(a.BitLen()))
	h.buf = append(h.buf, b[:]...)
}

// Prefix adds a prefix; the zero Prefix too.
func (h *Hash) Prefix(p netip.Prefix) {
	h.Addr(p.Addr())
	h.Number(uint64(p.Bits() + 1))
}

func (h *Hash) flush() {
	if h.sum == nil {
		h.sum = sha256.New()
	}
	h.sum.Write(h.buf)
	h.buf = h.buf[:0]
}

// String gives the digest of what was added so far: 32 hexadecimal digits.
func (h *Hash) String() string {
	h.flush()
	return hex.EncodeToString(h.sum.Sum(nil)[:16])
}
