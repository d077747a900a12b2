// Package sipacl decides who may do what to a SIP server.
//
// It answers the questions that Kamailio, OpenSIPS and Asterisk operators
// have asked for twenty years, from the same tables and files, inside a Go
// process.
package sipacl
