package conformance

import (
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
)

// FuzzTexts makes the texts that rules see, as the library and as the model.
// The decision of an allow rule shows the canonical one.
func FuzzTexts(f *testing.F) {
	for _, s := range []string{
		"sip:bob@example.org:5060;x=y?h=v", "sips:a:b@[2001:db8::1]", "tel:+1;x", "urn:service:sos", "*", "sip:%61@h.", "sip:@h", "sip:a@b@c", "sip:[::1]junk",
	} {
		f.Add(s)
	}
	rules, err := sipacl.NewRules(f.Context(), sipacl.RulesConfig{FS: files(map[string]string{allowFile: "ALL : ALL"})})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, s string) {
		if d := rules.Current().Test("sip:a@b", s); d.Cause != sipacl.CauseMalformed {
			require.Equal(t, modelCanonical(s, false), d.Right)
		}
		var u sip.Uri
		err := sip.ParseUri(s, &u)
		_, ok := sipacl.PlainURI(&u)
		require.Equal(t, modelBadURI(s), err != nil || !ok, "%q", s)
	})
}
