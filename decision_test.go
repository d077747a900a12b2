package sipacl

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestZeroDecisionRefuses(t *testing.T) {
	var d Decision
	require.False(t, d.Allowed)
	require.ErrorIs(t, d.Err(), ErrDenied)
	require.EqualError(t, d.Err(), "sipacl: refused: nothing allows it")
}

func TestErrCarriesTheDecision(t *testing.T) {
	d := Decision{Cause: CauseNoAddress, Source: Source{addr("127.0.0.2"), 5070, ProtoUDP}}
	denied, ok := DecisionOf(fmt.Errorf("call: %w", d.Err()))
	require.True(t, ok)
	require.Equal(t, d, denied)
	require.EqualError(t, d.Err(), "sipacl: 127.0.0.2:5070 udp refused: no address matches")
	_, ok = DecisionOf(errors.New("other"))
	require.False(t, ok)
	require.NoError(t, Decision{Allowed: true}.Err())
}

func TestDecisionIsOneLine(t *testing.T) {
	for want, d := range map[string]Decision{
		`refused: never loaded`: {Cause: CauseNotLoaded},
		`203.0.113.9:5060 udp allowed: address matches 203.0.113.0/24 group 200 (address:id 3) "OfficeSubnet"`: {
			Allowed: true, Cause: CauseAddress, Origin: Origin{Name: "address", Line: 3, Unit: UnitID}, Group: 200,
			Prefix: prefix("203.0.113.0/24"), Info: "OfficeSubnet", Source: Source{addr("203.0.113.9"), 5060, ProtoUDP},
		},
		`refused: deny rule (routing.deny:12:7) "sip:a@b\r\nX: y" -> "sip:\x1b[31m@c"`: {
			Cause: CauseDenyRule, Origin: Origin{Name: "routing.deny", Line: 12, Col: 7}, Left: "sip:a@b\r\nX: y", Right: "sip:\x1b[31m@c",
		},
		`[2001:db8::1]:5060 wss refused: cause 200`: {Cause: 200, Source: Source{addr("2001:db8::1"), 5060, ProtoWSS}},
	} {
		require.Equal(t, want, d.String())
	}
}

func TestDecisionLogsWhatIsSet(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	log.Info("x", "d", Decision{})
	log.Info("x", "d", Decision{
		Allowed: true, Cause: CauseAddress, Prefix: prefix("203.0.113.0/24"), Info: "a\nb", Source: Source{addr("203.0.113.9"), 5060, ProtoUDP},
		Origin: Origin{Name: "address", Line: 3, Unit: UnitRow}, Left: "l", Right: "r",
	})
	require.Equal(t, `level=INFO msg=x d.allowed=false d.cause="nothing allows it"
level=INFO msg=x d.allowed=true d.cause="address matches" d.source="203.0.113.9:5060 udp" d.group=0 d.prefix=203.0.113.0/24 d.origin="address:row 3" d.left=l d.right=r d.info="a\nb"
`, b.String())
}

func TestEveryCauseHasAText(t *testing.T) {
	seen := map[string]Cause{}
	for c := range Cause(len(causeTexts)) {
		require.NotEmpty(t, c.String(), "cause %d", c)
		require.NotContains(t, seen, c.String())
		seen[c.String()] = c
	}
	require.Equal(t, CauseError, Cause(len(causeTexts)-1), "the last one declared has one too")
	require.Equal(t, "cause 255", Cause(255).String())
}

func TestOriginIsAPlaceToGoTo(t *testing.T) {
	for want, o := range map[string]Origin{
		"":                      {},
		"permissions.deny":      {Name: "permissions.deny"},
		"permissions.deny:12":   {Name: "permissions.deny", Line: 12},
		"permissions.deny:12:7": {Name: "permissions.deny", Line: 12, Col: 7},
		"address:row 218":       {Name: "address", Line: 218, Unit: UnitRow},
		"address:id 17":         {Name: "address", Line: 17, Unit: UnitID},
	} {
		require.Equal(t, want, o.String())
	}
}

func TestLoadErrorsStayReadable(t *testing.T) {
	cause := errors.New("want less")
	for want, e := range map[string]*LoadError{
		"want less":                           {Err: cause},
		"f:1:2: want less":                    {Origin: Origin{Name: "f", Line: 1, Col: 2}, Err: cause},
		`address:id 17: mask "33": want less`: {Origin: Origin{Name: "address", Line: 17, Unit: UnitID}, Column: "mask", Value: "33", Err: cause},
		`tag "\n` + strings.Repeat("x", 199) + `..."` + ": want less": {Column: "tag", Value: "\n" + strings.Repeat("x", 9999), Err: cause},
	} {
		require.EqualError(t, e, want)
		require.ErrorIs(t, e, cause)
	}
}
