package conformance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Kamailio takes the text "" for a domain, and of the rows of one domain the
// last one wins, whatever its group.
func TestKamailioRowsWithoutAddress(t *testing.T) {
	row := func(group int, ip, tag string) string {
		return fmt.Sprintf(`{"grp":%d,"ip_addr":%q,"mask":99,"port":0,"tag":%q}`, group, ip, tag)
	}
	table := `{"kind":"table","id":"x","backend":"db","rows":[` +
		strings.Join([]string{row(1, "", "a"), row(1, "", "b"), row(2, "", "c"), row(2, "gw.test", "d")}, ",") +
		`],"reload":{"5.6.3":"Reload OK","master":"Reload OK","master-lpm":"Reload OK"}}`
	query := func(fn, args, answer string) string {
		return fmt.Sprintf(`{"kind":"query","table":"x","func":%q,%s"port":5060,"obs":{"5.6.3":%s,"master":%s,"master-lpm":%s}}`, fn, args, answer, answer, answer)
	}
	last := []string{
		query("allow_address", `"group":1,"addr":"",`, `{"rc":1,"tags":["b"]}`),
		query("allow_address", `"group":2,"addr":"",`, `{"rc":1,"tags":["c"]}`),
		query("allow_address_group", `"addr":"",`, `{"rc":2}`),
	}
	other := []string{
		query("allow_address", `"group":2,"addr":"gw.test",`, `{"rc":1,"tags":["d"]}`),
		query("allow_address", `"group":3,"addr":"",`, `{"rc":-1}`),
		query("allow_address", `"group":1,"addr":"10.0.0.1",`, `{"rc":-1}`),
	}
	require.Equal(t, "kamailio-address: total=18 agree=9 different=9 (addr-names=9) unaskable=0 unexplained=0",
		asked(t, "kamailio-address", append(append([]string{table}, last...), other...)...))
	first := query("allow_address", `"group":1,"addr":"",`, `{"rc":1,"tags":["a"]}`)
	require.Contains(t, asked(t, "kamailio-address", table, first), "unexplained=3")
}

// OpenSIPS answers -2 for a group that has no rows, and -1 for any group.
func TestOpenSIPSTablesWithoutRows(t *testing.T) {
	bad := `{"id":1,"grp":1,"ip":"nonsense","mask":32,"port":0,"proto":"any","pattern":null,"context_info":null}`
	query := func(fn string, group, rc int) string {
		q := fmt.Sprintf(`{"fn":%q,"grp":%d,"ip":"10.0.0.1","port":0,"proto":"any","pattern":null,"rc":%d,"match":false,"context_info":null}`, fn, group, rc)
		if fn != "check_address" {
			q = strings.NewReplacer(`"ip"`, `"src_ip"`, `"port"`, `"src_port"`, `"proto":"any"`, `"transport":"udp"`).Replace(q)
		}
		return q
	}
	for _, name := range []string{"opensips-address", "opensips-address-pre2025"} {
		for _, rows := range []string{"", bad} {
			table := func(queries ...string) string {
				return asked(t, name, fmt.Sprintf(`{"id":"x","table":"empty","rows":[%s],"reload":"OK","queries":[%s]}`, rows, strings.Join(queries, ",")))
			}
			require.Equal(t, name+": total=5 agree=3 different=2 (addr-nogroup=2) unaskable=0 unexplained=0", table(
				query("check_address", 0, -1), query("check_source_address", 0, -1), query("get_source_group", 0, -1),
				query("check_address", 1, -2), query("check_source_address", 1, -2)))
			require.Contains(t, table(query("check_address", 0, -2), query("check_address", 1, -1), query("get_source_group", 0, -2)), "unexplained=3")
		}
	}
}
