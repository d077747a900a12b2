package escape

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOctet(t *testing.T) {
	for hi := range 256 {
		for lo := range 256 {
			s := string([]byte{'%', byte(hi), byte(lo)})
			want, err := hex.DecodeString(s[1:])
			c, ok := Octet(s + "x")
			require.Equal(t, err == nil, ok, "%q", s)
			if ok {
				require.Equal(t, want[0], c, "%q", s)
			}
		}
	}
	for _, s := range []string{"", "%", "%4", "x41", "41%"} {
		_, ok := Octet(s)
		require.False(t, ok, s)
	}
}
