// Package admin is for the people who operate a server: it writes address
// tables and ACLs as JSON and in the layouts of the originals, and counts
// decisions for Prometheus.
//
//   - OpenSIPS's address_dump and subnet_dump: [Dump], [DumpPartition]
//   - Kamailio's permissions.addressDump, subnetDump and domainDump: [Dump]
//   - Asterisk's acl show and acl show NAME: [ShowACLs], [ShowACL]
//
// [Counters] is an observer for a guard and an http.Handler.
//
// What it writes may go to a terminal. Names and texts come from databases, files
// and command lines: what would not print is quoted in texts and escaped in JSON.
package admin
