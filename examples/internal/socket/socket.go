// Package socket opens the sockets of the examples' servers.
package socket

import (
	"net"
	"net/netip"
)

// Both listens on one address for UDP and TCP. For port 0 it looks for a port
// that is free for both. The address it returns is that of the sockets, with
// its port, IPv4 as IPv4.
func Both(listen string) (udp net.PacketConn, tcp net.Listener, addr netip.AddrPort, err error) {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, nil, addr, err
	}
	for range 20 {
		if udp, err = net.ListenPacket("udp", listen); err != nil {
			return nil, nil, addr, err
		}
		addr = udp.LocalAddr().(*net.UDPAddr).AddrPort()
		if tcp, err = net.Listen("tcp", addr.String()); err == nil {
			return udp, tcp, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), nil
		}
		udp.Close()
		if port != "0" {
			break
		}
	}
	return nil, nil, addr, err
}
