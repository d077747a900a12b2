// Package sipacl decides who may do what to a SIP server.
//
// It answers the questions that Kamailio, OpenSIPS and Asterisk operators have
// asked for twenty years, from the same tables and files, inside a Go process.
//
// # Start here
//
// Five types are enough for most servers:
//
//   - [Partition], made by [NewPartition]: the addresses you know, from a table,
//     a file or memory.
//   - [Check]: a function that decides one request. [Partition.Sources] gives
//     one; [AllOf], [AnyOf] and [ByMethod] join them.
//   - [Request]: what a check decides about. A SIP request, both ends of its
//     socket and its TLS connection.
//   - [Decision]: the answer, and why: its cause, and the row or rule that
//     decided. The zero Decision refuses.
//   - [Guard], made by [NewGuard]: puts a check in front of handlers, bytes and
//     connections.
//
// A server that admits the addresses in an SQL table, and no one else:
//
//	trunks, err := sipacl.NewPartition(ctx, sipacl.OpenSIPSAddresses(db))
//	if err != nil {
//		return err // every bad row, by id, column and value
//	}
//	guard := sipacl.NewGuard(sipacl.GuardConfig{Check: trunks.AnySource()})
//	srv.OnInvite(guard.Wrap(invite))
//	srv.OnAck(guard.Wrap(ack))
//	srv.OnNoRoute(guard.Wrap(other))
//	go trunks.Run(ctx, sipacl.RunConfig{}) // a changed table is in service within 30 s, after errors 5 min
//
// # The questions
//
//   - Does this address, port and protocol belong to a group, and to which?
//     [Partition.CheckSourceAddress], [Partition.Sources],
//     [Partition.SourceGroup], [Table.CheckAddress]
//   - May this caller reach these destinations, or that URI?
//     [Rules.AllowRouting], [Rules.AllowURI], [Rules.AllowReferTo]
//   - May this user register these contacts? [Rules.AllowRegister],
//     [Protector.CheckRegister]
//   - Does this address pass these named permit and deny lists?
//     [ACLs.Follow], [ACLSet.Bind], [ACLList.Check]
//   - Is this user in that group, and in which classes? [Groups.Members],
//     [GroupTable.IsUserIn], [GroupTable.Classes]
//   - Is this peer trusted? [Trusted.AllowTrusted]
//
// # Four rules
//
//  1. A handle ([Partition], [Rules], [ACLs], [Groups], [Trusted]) is a small
//     value that stays valid across reloads; its zero value refuses. Its checks
//     take a [Request].
//  2. A generation ([Table], [RuleSet], [ACLSet], [GroupTable], [TrustedTable])
//     is what [Part.Current] gives: immutable, nil refuses. Its questions take
//     plain values, so any SIP stack can ask them. A question has one name.
//  3. Whatever has the shape func(Request) [Decision] is a [Check].
//  4. Whatever can be reloaded, watched or asked how fresh it is, is a [Part].
//
// Every zero value, nil generation and empty list of this package refuses;
// "any" is always written out.
//
// # Loading and reloading
//
// [Open] loads everything a [Config] names, or returns every mistake it found.
// [Permissions.Reload] builds a new generation beside the one in service and
// swaps one pointer; if the load fails, the generation in service stays, and
// [Permissions.Status] says how old it is and what went wrong. Parts that are
// named in one Reload change together or not at all.
//
// [Permissions.Run] watches the sources and reloads what changed, on a
// goroutine of the caller. This package starts none.
//
// # Snapshots
//
// A check reads the generation in service when it is called. With
// [GuardConfig].Permissions all checks about one request read one [Snapshot],
// so that no reload comes between them; [Request.At] pins one by hand. Checks
// take no lock, allocate nothing, do no I/O and read no clock; all methods are
// safe for concurrent use. Rule checks may allocate and take a lock while they
// warm up.
//
// # Why
//
// A [Decision] names what decided. [Explain] asks any check again and records
// every row and rule it looks at, and what kept each from matching.
//
// # Trust
//
// The source of a request is the remote address of the socket it arrived on,
// never a Via, Contact or From header, which the sender controls. A request
// that did not come from a socket is refused.
//
// Over UDP the address of the socket can be forged, too. A match identifies
// and does not authenticate: let it decide who may try, and ask for a
// password, a TLS certificate or a connection where it matters.
//
// Behind a load balancer the source is the balancer. Wrap the listener with
// one that speaks the PROXY protocol, and [Guard.Listener] outside of it.
//
// # SIP
//
// Wrap every handler of sipgo with [Guard.Wrap], those for ACK and for unknown
// methods too: sipgo has no hook for the whole server, and what no handler
// sees, no guard refuses. [Guard.Filter], [Guard.Listener] and
// [Guard.PacketConn] refuse before a message is parsed.
package sipacl
