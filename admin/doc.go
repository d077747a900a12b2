// Package admin is for the people who operate a server: it writes address
// tables and ACLs as JSON and in the layouts of the originals, and counts
// decisions for Prometheus.
//
//	address_dump, subnet_dump                       [Dump], [DumpPartition]
//	permissions.addressDump, subnetDump, domainDump [Dump]
//	acl show, acl show NAME                         [ShowACLs], [ShowACL]
//
// [Counters] is an observer for a guard and an http.Handler.
//
// What it writes may go to a terminal. Names and texts come from databases, files
// and command lines: what would not print is quoted in texts and escaped in JSON.
package admin
