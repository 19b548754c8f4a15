// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package execsource

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/file"
)

// FuzzLines applies the lines of a program. Each has an answer or ends the program, a line that ends it
// changes nothing, and a full line leaves what it contains, whatever was there before.
func FuzzLines(f *testing.F) {
	const service = `{"apiVersion":"v1","kind":"Service","metadata":{"namespace":"n","name":"web"},"spec":{"clusterIP":"10.96.0.1","ports":[{"port":80}]}}`
	const slice = `{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"namespace":"n","name":"web-1","labels":{"kubernetes.io/service-name":"web"}},` +
		`"addressType":"IPv4","ports":[{"port":8080}],"endpoints":[{"addresses":["10.244.0.1"]}]}`
	f.Add([]byte(`{"full":true,"changed":[` + service + `,` + slice + `]}` + "\n" + `{"revision":7,"removed":[` + service + `]}`))
	f.Add([]byte(`{"full":true}` + "\n" + `{"changed":[{"kind":"List","apiVersion":"v1","items":[` + service + `]},1,{"kind":"Pod"}]}` + "\n" + `{"full":true}`))
	f.Add([]byte(`{"changed":[]}`))
	f.Add([]byte(`{"full":true,"changed":[{"apiVersion":"v1","kind":"Node","metadata":{"name":"node-1"}},{"apiVersion":"v1","kind":"Service"}]}` + "\nnull"))
	f.Fuzz(func(t *testing.T, data []byte) {
		decoder, err := file.NewDecoder(file.Config{})
		require.NoError(t, err)
		store := watchers.NewStore()
		r := &reader{decoder: decoder, store: store, logger: slog.New(slog.DiscardHandler)}
		for line := range bytes.SplitSeq(data, []byte("\n")) {
			before := store.Snapshot().Revision()
			answer, err := r.apply(line)
			if err != nil {
				require.Equal(t, before, store.Snapshot().Revision())
				return
			}
			checkAnswer(t, answer)
			var u update
			require.NoError(t, json.Unmarshal(line, &u))
			if !u.Full {
				continue
			}
			require.True(t, store.Snapshot().Synced())
			fresh := watchers.NewStore()
			again := &reader{decoder: decoder, store: fresh, logger: r.logger}
			_, err = again.apply(line)
			require.NoError(t, err)
			require.Equal(t, maps.Collect(fresh.Snapshot().All()), maps.Collect(store.Snapshot().All()))
		}
	})
}

// checkAnswer checks that an answer is one of the two that a program expects.
func checkAnswer(t *testing.T, answer []byte) {
	var a struct {
		OK    *uint64 `json:"ok"`
		Error *string `json:"error"`
	}
	require.NoError(t, json.Unmarshal(answer, &a))
	require.NotEqual(t, a.OK == nil, a.Error == nil, "%s", answer)
	require.NotContains(t, string(answer), "\n")
}
