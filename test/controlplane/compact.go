// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// Compact removes the history of all objects from etcd: a watch that begins at an earlier revision
// than the present one fails.
func (c *ControlPlane) Compact(ctx context.Context) error {
	client := c.etcdClient()
	defer client.CloseIdleConnections()
	var present struct{ Header struct{ Revision string } }
	if err := c.etcd(ctx, client, "/v3/kv/range", `{"key": "AA==", "limit": "1"}`, &present); err != nil {
		return err
	}
	err := c.etcd(ctx, client, "/v3/kv/compaction", fmt.Sprintf(`{"revision": %q, "physical": true}`, present.Header.Revision), &struct{}{})
	if err != nil && strings.Contains(err.Error(), "required revision has been compacted") {
		return nil // nothing has changed since the last compaction
	}
	return err
}

// etcdClient returns a client in the namespace of etcd. The caller must close its idle connections.
func (c *ControlPlane) etcdClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 64,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return c.cfg.Namespace.DialContext(ctx, net.Dialer{}, network, addr)
		},
	}}
}

// etcd calls the JSON API of etcd.
func (c *ControlPlane) etcd(ctx context.Context, client *http.Client, path, request string, response any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d%s", c.etcdPort, path), strings.NewReader(request))
	if err != nil {
		return err
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("etcd %s: %s: %s", path, answer.Status, body)
	}
	return json.Unmarshal(body, response)
}
