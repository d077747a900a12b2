package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/examples/internal/need"
)

// sipp runs a scenario with one call and returns every message of it.
func sipp(t *testing.T, s *server, scenario, from, transport string) string {
	need.Program(t, "sipp", "Debian's package sip-tester")
	messages := filepath.Join(t.TempDir(), "messages")
	cmd := exec.CommandContext(t.Context(), "sipp", s.addr.String(),
		"-sf", filepath.Join("testdata", scenario), "-i", from, "-p", "0", "-t", transport, "-m", "1", "-timeout", "20s", "-timeout_error",
		"-nostdin", "-trace_msg", "-message_file", messages)
	cmd.Env = append(os.Environ(), "TERM=dumb")
	out, err := cmd.CombinedOutput()
	text, _ := os.ReadFile(messages)
	require.NoError(t, err, "%s\n%s", out, text)
	require.NotEmpty(t, text)
	return string(text)
}

// received counts the messages that begin so and came from the proxy.
func received(messages, beginning string) (n int) {
	for _, m := range strings.Split(messages, "-----------------------------------------------")[1:] {
		if strings.Contains(m, "message received") && strings.Contains(m, "\n"+beginning) {
			n++
		}
	}
	return n
}

func TestSIPpCallIsAllowed(t *testing.T) {
	s, _ := startProxy(t, config{})
	for _, transport := range []string{"u1", "t1"} {
		require.Equal(t, 2, received(sipp(t, s, "allowed.xml", "127.0.0.1", transport), "SIP/2.0 200"), transport)
	}
}

func TestSIPpCallIsRefusedOnce(t *testing.T) {
	s, _ := startProxy(t, config{})
	for _, transport := range []string{"u1", "t1"} {
		messages := sipp(t, s, "refused.xml", "127.0.0.2", transport)
		require.Equal(t, 1, received(messages, "SIP/2.0 403"), "%s\n%s", transport, messages)
		require.Equal(t, 1, received(messages, "SIP/2.0 "), "%s: an answer to the ACK\n%s", transport, messages)
	}
}
