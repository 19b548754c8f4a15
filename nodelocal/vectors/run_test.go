// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package vectors_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodelocal/vectors"
)

// web is a story with one Service, and a comment and an empty line among its probes.
const web = `A Service with one endpoint.
-- node.config --
node node-1
client pod 10.1.0.9
-- web.yaml --
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ports: [{port: 80, targetPort: 8080}]}
---
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints: [{addresses: [10.1.0.1]}]
-- one endpoint (DP-01).probes --
# the cluster IP
pod tcp 10.0.0.1:80 -> 10.1.0.1:8080

pod udp 10.0.0.1:80 -> rejected
-- gone.delete --
Service default/web
-- deleted.probes --
pod tcp 10.0.0.1:80 -> none
`

func parse(t *testing.T, text string) *vectors.Story {
	s, err := vectors.Parse("web", []byte(text))
	require.NoError(t, err)
	return s
}

// altered is an implementation with other outcomes and without State.
type altered struct {
	vectors.Implementation
	outcomes func([]string) []string
	err      error
}

func (a altered) Probe(ctx context.Context, probes []string) ([]string, error) {
	outcomes, err := a.Implementation.Probe(ctx, probes)
	return a.outcomes(outcomes), errors.Join(err, a.err)
}

func TestResultsListDifferences(t *testing.T) {
	s := parse(t, web)
	results, err := vectors.Run(t.Context(), s, vectors.NewReference())
	require.NoError(t, err)
	require.Len(t, results, 2)
	require.Empty(t, results[0].Difference())
	require.True(t, results[1].Passed())
	require.Equal(t, []string{"DP-01"}, results[0].Step.Rows)

	wrong := altered{vectors.NewReference(), func([]string) []string { return []string{"dropped", "rejected"} }, nil}
	results, err = vectors.Run(t.Context(), s, wrong)
	require.ErrorContains(t, err, "story web: deleted.probes: 2 outcomes for 1 probes")
	require.Len(t, results, 1)
	require.False(t, results[0].Passed())
	require.Equal(t, "- pod tcp 10.0.0.1:80 -> 10.1.0.1:8080\n+ pod tcp 10.0.0.1:80 -> dropped\n", results[0].Difference())
	require.Contains(t, results[0].Got, "# the cluster IP\n")
}

func TestStateIsSkippedForOtherImplementations(t *testing.T) {
	s := parse(t, strings.Replace(web, "-- gone.delete --", "-- text.state --\nwrong\n-- gone.delete --", 1))
	results, err := vectors.Run(t.Context(), s, altered{vectors.NewReference(), func(o []string) []string { return o }, nil})
	require.NoError(t, err)
	require.True(t, results[1].Skipped)
	require.True(t, results[1].Passed())
	results, err = vectors.Run(t.Context(), s, vectors.NewReference())
	require.NoError(t, err)
	require.False(t, results[1].Passed())
	require.Contains(t, results[1].Difference(), "- wrong\n+ default/web\n")
}

func TestErrorsNameStoryAndFile(t *testing.T) {
	failing := altered{vectors.NewReference(), func(o []string) []string { return o }, errors.New("out of memory")}
	_, err := vectors.Run(t.Context(), parse(t, web), failing)
	require.EqualError(t, err, "story web: one endpoint (DP-01).probes: out of memory")
	for from, want := range map[string]map[string]string{
		"pod tcp 10.0.0.1:80 -> 10.1.0.1:8080": {
			"host tcp 10.0.0.1:80 -> none": `one endpoint (DP-01).probes: probe "host tcp 10.0.0.1:80": client "host": want one of ["pod"]`,
			"pod icmp 10.0.0.1:80 -> none": `protocol "icmp": want tcp, udp or sctp`,
			"pod tcp 10.0.0.1 -> none":     `probe "pod tcp 10.0.0.1"`,
		},
		"client pod 10.1.0.9": {
			"client pod":             `node.config: setting "client pod": want client NAME ADDRESS [INTERFACE]`,
			"client pod x":           `setting "client pod x"`,
			"color blue":             `setting "color blue": unknown setting`,
			"cluster-cidr 10.0.0/8":  `setting "cluster-cidr 10.0.0/8"`,
			"node-ip":                `setting "node-ip": a value is required`,
			"nodeport-addresses x/y": `x/y`,
		},
		"spec: {clusterIP": {"kpng: {ports: [{name: x}]}\nspec: {clusterIP": `web.yaml: Service web: kpng.ports: the Service has no port "x"`},
		"kind: Service":    {"kind: Pod": `web.yaml: unknown kind "Pod"`},
		"Service default/": {"Pod default/": `gone.delete: Pod default/web: unknown kind "Pod"`},
	} {
		for to, message := range want {
			_, err := vectors.Run(t.Context(), parse(t, strings.Replace(web, from, to, 1)), vectors.NewReference())
			require.ErrorContains(t, err, message, to)
		}
	}
}

func TestInvalidStoriesAreRejected(t *testing.T) {
	for from, want := range map[string]map[string]string{
		"A Service with one endpoint.":    {"": "story web: no comment that describes it"},
		"-- node.config --":               {"-- node.conf --": `story web: node.conf: unknown kind of file "conf"`},
		"-- deleted.probes --":            {"-- one endpoint (DP-01).probes --": `two files are named "one endpoint (DP-01).probes"`},
		"pod udp 10.0.0.1:80 -> rejected": {"pod udp 10.0.0.1:80": `want CLIENT PROTOCOL ADDRESS:PORT -> OUTCOME`},
		"Service default/web\n":           {"Service\n": `gone.delete: "Service": want KIND NAME [ORIGIN]`},
		"kind: EndpointSlice":             {"kind: [": "web.yaml: object 2: "},
	} {
		for to, message := range want {
			_, err := vectors.Parse("web", []byte(strings.Replace(web, from, to, 1)))
			require.ErrorContains(t, err, message, to)
		}
	}
	_, err := vectors.Parse("web", []byte("About.\n-- a.probes --\n"))
	require.ErrorContains(t, err, "a.probes: no .config file before it")
	_, err = vectors.Parse("web", []byte("About.\n-- a.config --\n"))
	require.ErrorContains(t, err, "no expectation")
}

// A story that parses has the same steps after formatting, and running it never panics.
func FuzzParse(f *testing.F) {
	f.Add(web)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := vectors.Parse("web", []byte(text))
		if err != nil {
			return
		}
		again, err := vectors.Parse("web", s.Format([]byte(s.About+"\n")))
		if err == nil && strings.HasSuffix(text, "\n") {
			require.Equal(t, s.Steps, again.Steps)
		}
		_, _ = vectors.Run(t.Context(), s, vectors.NewReference()) // invalid steps are errors
	})
}

func ExampleRun() {
	stories, err := vectors.Stories()
	if err != nil {
		fmt.Println(err)
		return
	}
	failed := 0
	for _, s := range stories {
		results, err := vectors.Run(context.Background(), s, vectors.NewReference())
		if err != nil {
			fmt.Println(err)
		}
		for _, r := range results {
			if !r.Passed() {
				failed++
				fmt.Print(r.Difference())
			}
		}
	}
	fmt.Println(failed, "expectations failed")
	// Output: 0 expectations failed
}
