package sipacl

import (
	"context"
	"iter"
	"net"
	"net/netip"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
)

// lookAt has one Run look at a part, and says what became of it.
func lookAt(t *testing.T, q *part, cfg RunConfig) error {
	t.Helper()
	cfg.Interval, cfg.Timeout, cfg.Settle = time.Hour, time.Hour, 1
	(&watch{part: q}).look(t.Context(), q.perm, cfg)
	return q.perm.status(q).LastError
}

// A list that had entries is not taken without any by itself, whatever its
// size; somebody who means it reloads.
func TestNothingBecomesEmptyByItself(t *testing.T) {
	files := fstest.MapFS{}
	write := func(name, text string) { files[name] = &fstest.MapFile{Data: []byte(text)} }
	write("permissions.allow", "a : ALL\n")
	write("permissions.deny", "b : ALL\n")
	write("address", "1 192.0.2.1\n")
	write("more", "1 192.0.2.2\n")
	write("members", "alice@example.com ld\n")
	write("classes", "1 ^sip:a\n")
	write("acl.conf", "#tryinclude \"deny.conf\"\n[lan]\npermit=192.0.2.0/24\n[ban]\ndeny=192.0.2.66\n")
	write("deny.conf", "[lan]\ndeny=0.0.0.0/0,::/0\n")
	trusted := []TrustedRow{{Source: addr("192.0.2.1")}}
	perm, err := Open(t.Context(), Config{
		Rules:      []RulesConfig{{FS: files}},
		Partitions: []PartitionConfig{{Sources: []AddressSource{AddressFile{FS: files, Name: "address"}, AddressFile{FS: files, Name: "more"}}}},
		Groups:     GroupConfig{Members: []MemberSource{MemberFile{FS: files, Name: "members"}}, Classes: []ClassSource{ClassFile{FS: files, Name: "classes"}}},
		ACLs:       []ACLSource{ACLConf{FS: files}},
		Trusted:    []TrustedSource{RowFunc[TrustedRow](func(ctx context.Context) iter.Seq2[TrustedRow, error] { return Rows(trusted...).Rows(ctx) })},
	})
	require.NoError(t, err)
	part := map[string]*part{}
	for _, q := range perm.parts {
		part[q.name] = q
		require.NoError(t, lookAt(t, q, RunConfig{}), q.name)
	}
	for _, c := range []struct {
		part, file, text string
		want             string
	}{
		{"rules:permissions", "permissions.deny", "# nothing\n", "permissions.deny had 1 and has none"},
		{"rules:permissions", "permissions.allow", "", "permissions.allow had 1 and has none"},
		{"address:default", "address", "", "address had 1 and has none"},
		{"address:default", "more", "# moved\n", "more had 1 and has none"},
		{"group", "members", "", "members had 1 and has none"},
		{"group", "classes", "", "classes had 1 and has none"},
		{"acl", "deny.conf", "", "deny.conf had 2 and has none"},
		{"acl", "acl.conf", "#tryinclude \"deny.conf\"\n[lan]\npermit=192.0.2.0/24\n[ban]\n", "ACL ban had 1 and has none"},
		{"acl", "acl.conf", "#tryinclude \"deny.conf\"\n[lan]\npermit=192.0.2.0/24\n", "ACL ban had 1 and has none"},
	} {
		before := files[c.file]
		gone := []bool{false}
		if c.file == "deny.conf" {
			gone = append(gone, true) // tryinclude says nothing of a file that is not there
		}
		for _, gone := range gone {
			if write(c.file, c.text); gone {
				delete(files, c.file)
			}
			err := lookAt(t, part[c.part], RunConfig{})
			require.ErrorIs(t, err, ErrShrunk, c.want)
			require.ErrorContains(t, err, c.want)
			require.Error(t, lookAt(t, part[c.part], RunConfig{MaxShrink: 0.99}), "no share allows it")
			files[c.file] = before
			require.NoError(t, lookAt(t, part[c.part], RunConfig{}))
		}
	}
	trusted = nil
	require.ErrorContains(t, lookAt(t, part["trusted"], RunConfig{}), "trusted had 1 and has none")

	require.NoError(t, lookAt(t, part["trusted"], RunConfig{MaxShrink: AnyShrink}))
	require.Zero(t, perm.Trusted().Status().Entries)
	write("address", "")
	_, err = perm.Reload(t.Context(), "address:default")
	require.NoError(t, err, "somebody means it")
}

func TestHalfOfALongListIsTheMostThatGoesByItself(t *testing.T) {
	src := new(changing)
	src.set(hostRows(20)...)
	p := must(NewPartition(t.Context(), src))
	src.set(hostRows(9)...)
	require.ErrorIs(t, lookAt(t, p.p, RunConfig{}), ErrShrunk)
	src.set(hostRows(10)...)
	require.NoError(t, lookAt(t, p.p, RunConfig{}))
	src.set(hostRows(1)...)
	require.NoError(t, lookAt(t, p.p, RunConfig{}), "of a short list any share")
	src.set(hostRows(19)...)
	require.NoError(t, lookAt(t, p.p, RunConfig{}))
	src.set(hostRows(9)...)
	require.ErrorIs(t, lookAt(t, p.p, RunConfig{MaxShrink: 0.5}), ErrShrunk, "unless a share is named")
	for _, most := range []float64{-0.1, 1.1} {
		require.Error(t, p.Run(t.Context(), RunConfig{MaxShrink: most}))
	}
}

// Rules and addresses that are named in one Reload change together or not at
// all.
func TestRulesAndAddressesChangeTogether(t *testing.T) {
	files := fstest.MapFS{"permissions.deny": {Data: []byte("a : ALL\n")}, "address": {Data: []byte("1 192.0.2.1\n")}}
	perm, err := Open(t.Context(), Config{
		Rules:      []RulesConfig{{FS: files}},
		Partitions: []PartitionConfig{{Sources: []AddressSource{AddressFile{FS: files, Name: "address"}}}},
	})
	require.NoError(t, err)
	rules, err := perm.Rules("")
	require.NoError(t, err)
	part := part1(t, perm, "")
	files["address"] = &fstest.MapFile{Data: []byte("1 192.0.2.2\n")}
	files["permissions.deny"] = &fstest.MapFile{Data: []byte("All : ALL\n")}
	old := perm.Snapshot()
	_, err = perm.Reload(t.Context(), "address:default", "rules:permissions")
	require.ErrorContains(t, err, "permissions.deny:1:1")
	require.Same(t, old, perm.Snapshot(), "the addresses loaded well and are held back")
	require.True(t, allows(part, "192.0.2.1"))

	files["permissions.deny"] = &fstest.MapFile{Data: []byte("b : ALL\n")}
	swaps := 0
	perm.OnReload(func(ReloadReport) {
		swaps++
		require.True(t, allows(part, "192.0.2.2"))
		require.False(t, rules.Current().Test("b", "x").Allowed)
	})
	_, err = perm.Reload(t.Context(), "rules:permissions", "address:default", "rules:permissions")
	require.NoError(t, err)
	require.Equal(t, 2, swaps, "a report each, after one swap")
}

// A source that a reload removes loses its open connections, if that is asked
// for; the others stay.
func TestListenerClosesWhatAReloadRemoved(t *testing.T) {
	var src adjustable
	friendRow := AddressRow{Group: 1, Prefix: netip.MustParsePrefix("127.0.0.1/32")}
	src.holds(friendRow, AddressRow{Group: 1, Prefix: netip.MustParsePrefix("127.0.0.2/32")})
	perm := opened(t, Config{Partitions: []PartitionConfig{src.called("")}})
	part := part1(t, perm, "")
	for _, closes := range []bool{true, false} {
		src.holds(friendRow, AddressRow{Group: 1, Prefix: netip.MustParsePrefix("127.0.0.2/32")})
		_, err := part.Reload(t.Context())
		require.NoError(t, err)
		guard := NewGuard(GuardConfig{Peers: part.AnySource(), Permissions: perm, CloseRemoved: closes})
		inner, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		l := guard.Listener(inner, "tcp")
		accept := func(from string) (client, server net.Conn) {
			client, err := tryDial("tcp", from, inner.Addr().String())
			require.NoError(t, err)
			server, err = l.Accept()
			require.NoError(t, err)
			return client, server
		}
		kept, keptServer := accept(friend)
		removed, removedServer := accept(stranger)
		defer kept.Close()
		defer removed.Close()
		require.NoError(t, l.Close(), "connections are watched while they are open")

		src.holds(friendRow)
		_, err = part.Reload(t.Context())
		require.NoError(t, err)
		_, err = removedServer.Write([]byte("x"))
		if closes {
			require.ErrorIs(t, err, net.ErrClosed)
		} else {
			require.NoError(t, err)
		}
		_, err = keptServer.Write([]byte("x"))
		require.NoError(t, err)
		require.NoError(t, keptServer.Close())
		_ = removedServer.Close()
		perm.mu.Lock()
		require.Empty(t, perm.subs, "nothing is left behind")
		perm.mu.Unlock()
	}
	require.Panics(t, func() { NewGuard(GuardConfig{CloseRemoved: true}).Listener(nil, "tcp") })
}
