// Package sipacl decides who may do what to a SIP server.
//
// It answers the questions that Kamailio, OpenSIPS and Asterisk operators
// have asked for twenty years, from the same tables and files, inside a Go
// process:
//
//   - does this address, port and protocol belong to a group, and to which?
//     ([Partition.CheckAddress], [Partition.CheckSourceAddress],
//     [Partition.SourceGroup])
//   - may this caller reach these destinations, or that URI?
//     ([Rules.AllowRouting], [Rules.AllowURI])
//   - may this user register these contacts? ([Rules.AllowRegister],
//     [Protector.CheckRegister])
//   - does this address pass these named permit and deny lists?
//     ([ACLs.Bind], [ACLs.Follow], [ACLList.Check])
//   - is this user in that group, and in which classes?
//     ([Groups.IsUserIn], [Groups.Classes])
//
// Each answer is a [Decision]: allowed or refused, the cause, and the row or
// rule that decided, with its place in the file or table. The zero Decision
// refuses, as does every zero value, nil handle and empty list of this
// package; "any" is always written out.
//
// # Loading and reloading
//
// [Open] loads everything a [Config] names, or returns every mistake it found.
// What it loads is immutable. [Permissions.Reload] builds a new generation
// beside the one in service and swaps one pointer; if the load fails, the
// generation in service stays, and [Permissions.Status] tells how old it is
// and what went wrong.
//
// [Permissions.Run] watches the sources and reloads what changed, on a
// goroutine of the caller. This package starts none.
//
// # Snapshots
//
// A check reads the generation in service when it is called. A request
// handler that asks two questions takes one [Snapshot] and asks it both, so
// that no reload comes between them. Checks take no lock, allocate nothing,
// do no I/O and read no clock; all methods are safe for concurrent use. One
// exception: a check of rules or classes whose expressions have not met such
// a text since they were loaded notes what it found out, in a bounded place,
// under a lock and with a few allocations.
//
// # Trust
//
// The source of a request is the remote address of the socket it arrived on,
// never a Via, Contact or From header, which the sender writes. [SourceOf]
// refuses requests that did not come from a socket.
//
// Over UDP the address of the socket can be forged, too. A match identifies
// and does not authenticate: let it decide who may try, and ask for a
// password, a TLS certificate or a connection where it matters.
//
// Behind a load balancer the source is the balancer. Wrap the listener with
// one that speaks the PROXY protocol, and [NewListener] outside of it.
//
// # SIP
//
// [Guard] wraps the request handlers of sipgo. Wrap all of them, those for ACK
// and for unknown methods too: sipgo has no hook for the whole server, and
// what no handler sees, no guard refuses. [ReadFilter], [NewListener] and
// [NewPacketConn] refuse before a message is parsed.
package sipacl
