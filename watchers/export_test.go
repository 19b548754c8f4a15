// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

// Conflicts returns the number of objects that several sources define.
func (j *Joined) Conflicts() int { return len(j.merger.conflicts) }
