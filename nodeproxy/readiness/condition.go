// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package readiness

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// reasonApplied is the reason of a condition.
const reasonApplied = "ServicesApplied"

// setCondition sets the condition of a pod to True if it lists the condition as a readiness gate.
func (c *Controller) setCondition(ctx context.Context, id podID) error {
	pods := c.cfg.Client.CoreV1().Pods(id.namespace)
	object, err := pods.Get(ctx, id.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || !hasAddress(object, id.addr) || !needsCondition(object, corev1.PodConditionType(c.cfg.PodCondition)) {
		return err
	}
	data, err := conditionPatch(object, c.cfg.PodCondition)
	if err != nil {
		return err
	}
	_, err = pods.Patch(ctx, id.name, types.StrategicMergePatchType, data, metav1.PatchOptions{FieldManager: fieldManager}, "status")
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// hasAddress reports whether a pod has an address. A pod that replaces one of the same name has not.
func hasAddress(object *corev1.Pod, addr netip.Addr) bool {
	return slices.ContainsFunc(object.Status.PodIPs, func(ip corev1.PodIP) bool {
		parsed, err := netip.ParseAddr(ip.IP)
		return err == nil && parsed == addr
	})
}

// needsCondition reports whether a pod has a readiness gate of a type whose condition is not True.
func needsCondition(object *corev1.Pod, condition corev1.PodConditionType) bool {
	return slices.ContainsFunc(object.Spec.ReadinessGates, func(g corev1.PodReadinessGate) bool { return g.ConditionType == condition }) &&
		!slices.ContainsFunc(object.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == condition && c.Status == corev1.ConditionTrue
		})
}

// conditionPatch returns a strategic merge patch that sets a condition. The UID makes the API server
// refuse it for a later pod of the same name; the other conditions are not part of it.
func conditionPatch(object *corev1.Pod, condition string) ([]byte, error) {
	return json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": object.UID},
		"status": map[string]any{"conditions": []map[string]any{{
			"type": condition, "status": corev1.ConditionTrue, "reason": reasonApplied,
			"message": "enough nodes have applied the Services of the pod", "lastTransitionTime": metav1.Now(),
		}}},
	})
}
