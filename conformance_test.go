package sipacl_test

import (
	"flag"
	"testing"

	"github.com/sipacl/sipacl/internal/conformance"
)

var vectorsDir = flag.String("vectors", "testdata/vectors", "directory of the recorded vectors")

func TestConformance(t *testing.T) { conformance.Run(t, *vectorsDir, "testdata/vectors") }
