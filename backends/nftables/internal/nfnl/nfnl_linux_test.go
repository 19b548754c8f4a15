// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nfnl

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
)

func TestMain(m *testing.M) { os.Exit(netnstest.Main(m)) }

func TestConstantsMatchSystemHeaders(t *testing.T) {
	for _, c := range []struct{ got, want int64 }{
		{MsgNewTable, unix.NFT_MSG_NEWTABLE}, {msgGetTable, unix.NFT_MSG_GETTABLE}, {MsgDelTable, unix.NFT_MSG_DELTABLE},
		{MsgNewChain, unix.NFT_MSG_NEWCHAIN}, {MsgDelChain, unix.NFT_MSG_DELCHAIN},
		{MsgNewRule, unix.NFT_MSG_NEWRULE}, {MsgNewSet, unix.NFT_MSG_NEWSET},
		{MsgNewSetElem, unix.NFT_MSG_NEWSETELEM}, {MsgDelSetElem, unix.NFT_MSG_DELSETELEM},
		{msgNewGen, unix.NFT_MSG_NEWGEN}, {msgGetGen, unix.NFT_MSG_GETGEN},
		{flagRequest, unix.NLM_F_REQUEST}, {flagAck, unix.NLM_F_ACK},
		{FlagCreate, unix.NLM_F_CREATE}, {FlagAppend, unix.NLM_F_APPEND},
		{FamilyIPv4, unix.NFPROTO_IPV4}, {FamilyIPv6, unix.NFPROTO_IPV6},
		{TableName, unix.NFTA_TABLE_NAME}, {tableFlags, unix.NFTA_TABLE_FLAGS}, {tableUse, unix.NFTA_TABLE_USE}, {HookNum, unix.NFTA_HOOK_HOOKNUM}, {HookPriority, unix.NFTA_HOOK_PRIORITY},
		{ChainTable, unix.NFTA_CHAIN_TABLE}, {ChainName, unix.NFTA_CHAIN_NAME},
		{chainHandle, unix.NFTA_CHAIN_HANDLE}, {chainPolicy, unix.NFTA_CHAIN_POLICY}, {ChainHook, unix.NFTA_CHAIN_HOOK}, {ChainType, unix.NFTA_CHAIN_TYPE},
		{HookPrerouting, unix.NF_INET_PRE_ROUTING}, {HookOutput, unix.NF_INET_LOCAL_OUT}, {HookPostrouting, unix.NF_INET_POST_ROUTING},
		{RuleTable, unix.NFTA_RULE_TABLE}, {RuleChain, unix.NFTA_RULE_CHAIN}, {RuleExpressions, unix.NFTA_RULE_EXPRESSIONS},
		{ListElem, unix.NFTA_LIST_ELEM}, {ExprName, unix.NFTA_EXPR_NAME}, {ExprData, unix.NFTA_EXPR_DATA},
		{SetTable, unix.NFTA_SET_TABLE}, {SetName, unix.NFTA_SET_NAME}, {SetFlags, unix.NFTA_SET_FLAGS},
		{SetKeyType, unix.NFTA_SET_KEY_TYPE}, {SetKeyLen, unix.NFTA_SET_KEY_LEN}, {SetDataType, unix.NFTA_SET_DATA_TYPE},
		{SetDataLen, unix.NFTA_SET_DATA_LEN}, {SetDesc, unix.NFTA_SET_DESC}, {SetID, unix.NFTA_SET_ID},
		{SetDescSize, unix.NFTA_SET_DESC_SIZE}, {SetFlagMap, unix.NFT_SET_MAP},
		{ElemListTable, unix.NFTA_SET_ELEM_LIST_TABLE}, {ElemListSet, unix.NFTA_SET_ELEM_LIST_SET},
		{ElemListElements, unix.NFTA_SET_ELEM_LIST_ELEMENTS}, {ElemKey, unix.NFTA_SET_ELEM_KEY}, {ElemData, unix.NFTA_SET_ELEM_DATA},
		{elemExpr, unix.NFTA_SET_ELEM_EXPR}, {counterPackets, unix.NFTA_COUNTER_PACKETS},
		{DataValue, unix.NFTA_DATA_VALUE}, {DataVerdict, unix.NFTA_DATA_VERDICT}, {DataTypeVerdict, unix.NFT_DATA_VERDICT},
		{VerdictCode, unix.NFTA_VERDICT_CODE}, {VerdictChain, unix.NFTA_VERDICT_CHAIN},
		{VerdictJump, 1<<32 + unix.NFT_JUMP}, {VerdictGoto, 1<<32 + unix.NFT_GOTO}, {VerdictReturn, 1<<32 + unix.NFT_RETURN},
		{RegVerdict, unix.NFT_REG_VERDICT}, {Reg32, unix.NFT_REG32_00},
		{ImmediateDreg, unix.NFTA_IMMEDIATE_DREG}, {ImmediateData, unix.NFTA_IMMEDIATE_DATA},
		{PayloadDreg, unix.NFTA_PAYLOAD_DREG}, {PayloadBase, unix.NFTA_PAYLOAD_BASE}, {PayloadOffset, unix.NFTA_PAYLOAD_OFFSET},
		{PayloadLen, unix.NFTA_PAYLOAD_LEN}, {PayloadNetwork, unix.NFT_PAYLOAD_NETWORK_HEADER}, {PayloadTransport, unix.NFT_PAYLOAD_TRANSPORT_HEADER},
		{MetaDreg, unix.NFTA_META_DREG}, {MetaKey, unix.NFTA_META_KEY}, {MetaSreg, unix.NFTA_META_SREG},
		{MetaMark, unix.NFT_META_MARK}, {MetaPriority, unix.NFT_META_PRIORITY}, {MetaIifname, unix.NFT_META_IIFNAME}, {MetaL4proto, unix.NFT_META_L4PROTO},
		{CmpSreg, unix.NFTA_CMP_SREG}, {CmpOp, unix.NFTA_CMP_OP}, {CmpData, unix.NFTA_CMP_DATA}, {CmpEq, unix.NFT_CMP_EQ}, {CmpNeq, unix.NFT_CMP_NEQ},
		{BitwiseSreg, unix.NFTA_BITWISE_SREG}, {BitwiseDreg, unix.NFTA_BITWISE_DREG}, {BitwiseLen, unix.NFTA_BITWISE_LEN},
		{BitwiseMask, unix.NFTA_BITWISE_MASK}, {BitwiseXor, unix.NFTA_BITWISE_XOR},
		{LookupSet, unix.NFTA_LOOKUP_SET}, {LookupSreg, unix.NFTA_LOOKUP_SREG}, {LookupDreg, unix.NFTA_LOOKUP_DREG},
		{NATType, unix.NFTA_NAT_TYPE}, {NATFamily, unix.NFTA_NAT_FAMILY}, {HashSreg, unix.NFTA_HASH_SREG}, {HashDreg, unix.NFTA_HASH_DREG}, {HashLen, unix.NFTA_HASH_LEN},
		{HashModulus, unix.NFTA_HASH_MODULUS}, {HashSeed, unix.NFTA_HASH_SEED}, {HashType, unix.NFTA_HASH_TYPE}, {HashJenkins, unix.NFT_HASH_JENKINS},
		{NATRegAddrMin, unix.NFTA_NAT_REG_ADDR_MIN},
		{NATRegProtoMin, unix.NFTA_NAT_REG_PROTO_MIN}, {NATDestination, unix.NFT_NAT_DNAT},
		{MasqFlags, unix.NFTA_MASQ_FLAGS}, {NATFullyRandom, unix.NF_NAT_RANGE_PROTO_RANDOM_FULLY},
		{CtDreg, unix.NFTA_CT_DREG}, {CtKey, unix.NFTA_CT_KEY}, {CtStatus, unix.NFT_CT_STATUS},
		{FibDreg, unix.NFTA_FIB_DREG}, {FibResult, unix.NFTA_FIB_RESULT}, {FibFlags, unix.NFTA_FIB_FLAGS},
		{FibAddrType, unix.NFT_FIB_RESULT_ADDRTYPE}, {FibSaddr, unix.NFTA_FIB_F_SADDR}, {FibDaddr, unix.NFTA_FIB_F_DADDR},
		{RouteTypeLocal, unix.RTN_LOCAL}, {RejectType, unix.NFTA_REJECT_TYPE}, {RejectCode, unix.NFTA_REJECT_ICMP_CODE},
		{RejectICMP, unix.NFT_REJECT_ICMP_UNREACH}, {RejectTCPReset, unix.NFT_REJECT_TCP_RST},
		{subsysNftables, unix.NFNL_SUBSYS_NFTABLES}, {batchBegin, unix.NFNL_MSG_BATCH_BEGIN}, {batchEnd, unix.NFNL_MSG_BATCH_END},
		{genID, unix.NFTA_GEN_ID}, {nestedFlag, unix.NLA_F_NESTED}, {nlmsgError, unix.NLMSG_ERROR},
		{errAttrMessage, unix.NLMSGERR_ATTR_MSG}, {flagCapped, unix.NLM_F_CAPPED}, {flagAckTLVs, unix.NLM_F_ACK_TLVS},
	} {
		require.Equal(t, c.want, c.got)
	}
}

// pair returns two Conns in a new namespace.
func pair(t *testing.T) (own, other *Conn) {
	netnstest.New(t).Do(func() (err error) {
		if own, err = Open(); err != nil {
			return err
		}
		other, err = Open()
		return err
	})
	t.Cleanup(func() {
		own.Close()
		other.Close()
	})
	return own, other
}

func addTable(b *Batch, name string) *Batch {
	b.Reset()
	b.Start(MsgNewTable, FlagCreate, FamilyIPv4)
	b.String(TableName, name)
	return b
}

func TestRefusedBatchHasNoEffect(t *testing.T) {
	own, _ := pair(t)
	var b Batch
	require.NoError(t, own.Commit(addTable(&b, "own")))
	for range 3 { // also after an error
		addTable(&b, "second")
		b.Start(MsgNewChain, FlagCreate, FamilyIPv4)
		b.String(ChainTable, "missing")
		b.String(ChainName, "c")
		addChain(&b, "own", "c")
		var refusal *Error
		require.ErrorAs(t, own.Commit(&b), &refusal)
		require.Equal(t, unix.ENOENT, refusal.Errno)
		require.Equal(t, 2, refusal.Message)
		require.ErrorIs(t, refusal, unix.ENOENT)
	}
	b.Reset()
	b.Start(MsgDelTable, 0, FamilyIPv4)
	b.String(TableName, "second")
	require.ErrorIs(t, own.Commit(&b), unix.ENOENT, "the refused batch must have no effect")
	b.Reset()
	require.NoError(t, own.Commit(&b), "an empty batch")
}

func addChain(b *Batch, table, name string) {
	b.Start(MsgNewChain, FlagCreate, FamilyIPv4)
	b.String(ChainTable, table)
	b.String(ChainName, name)
}

func TestCheckChangesNothing(t *testing.T) {
	own, _ := pair(t)
	var b Batch
	require.NoError(t, own.Check(addTable(&b, "own")))
	b.Reset()
	b.Start(MsgDelTable, 0, FamilyIPv4)
	b.String(TableName, "own")
	require.ErrorIs(t, own.Check(&b), unix.ENOENT)
}

func TestBatchLargerThanSocketBuffer(t *testing.T) {
	own, _ := pair(t)
	var b Batch
	addTable(&b, "own")
	for range 30000 {
		b.Start(MsgNewTable, FlagCreate, FamilyIPv4)
		b.String(TableName, "own")
	}
	require.Greater(t, b.Len(), 800_000)
	require.NoError(t, own.Commit(&b))
}

// addIntegerMap adds the map "s" from numbers to numbers.
func addIntegerMap(b *Batch) {
	b.Start(MsgNewSet, FlagCreate, FamilyIPv4)
	b.String(SetTable, "own")
	b.String(SetName, "s")
	b.Uint32(SetID, 1)
	b.Uint32(SetFlags, SetFlagMap|SetFlagTimeout)
	b.Uint32(SetKeyLen, 4)
	b.Uint32(SetDataType, 1)
	b.Uint32(SetDataLen, 8)
	b.Uint64(SetTimeout, 100_000)
}

// addInteger adds an element to that map.
func addInteger(b *Batch, i uint32) {
	b.Start(MsgNewSetElem, FlagCreate, FamilyIPv4)
	b.String(ElemListTable, "own")
	b.String(ElemListSet, "s")
	list := b.Nest(ElemListElements)
	elem := b.Nest(ListElem)
	key := b.Nest(ElemKey)
	b.Uint32(DataValue, i)
	b.End(key)
	b.Uint64(ElemExpiration, 50_000)
	data := b.Nest(ElemData)
	b.Uint64(DataValue, uint64(i)<<32)
	b.End(data)
	b.End(elem)
	b.End(list)
}

func TestElementsReturnsAll(t *testing.T) {
	own, _ := pair(t)
	_, err := own.Elements(FamilyIPv4, "own", "s")
	require.ErrorIs(t, err, unix.ENOENT)
	var b Batch
	addTable(&b, "own")
	addIntegerMap(&b)
	require.NoError(t, own.Commit(&b))
	none, err := own.Elements(FamilyIPv4, "own", "s")
	require.NoError(t, err)
	require.Empty(t, none)
	const n = 20000
	b.Reset()
	for i := range uint32(n) {
		addInteger(&b, i)
	}
	require.NoError(t, own.Commit(&b))
	all, err := own.Elements(FamilyIPv4, "own", "s")
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, e := range all {
		require.Equal(t, append(e.Key, 0, 0, 0, 0), e.Data)
		require.Greater(t, e.Expires, 40*time.Second)
		require.LessOrEqual(t, e.Expires, 50*time.Second)
		seen[string(e.Key)] = true
	}
	require.Len(t, seen, n)
	require.Len(t, all, n)
	_, err = own.Generation() // must ignore replies to earlier requests
	require.NoError(t, err)
	_, err = own.Elements(FamilyIPv6, "own", "s")
	require.ErrorIs(t, err, unix.ENOENT)
}

func TestGenerationCountsTransactions(t *testing.T) {
	own, other := pair(t)
	var b Batch
	first, err := own.Generation()
	require.NoError(t, err)
	require.NotZero(t, first)
	require.NoError(t, own.Check(addTable(&b, "checked")))
	b.Reset()
	addChain(&b, "missing", "c")
	require.ErrorIs(t, own.Commit(&b), unix.ENOENT)
	require.NoError(t, own.Commit(addTable(&b, "own")))
	require.NoError(t, other.Commit(addTable(&b, "others")))
	last, err := own.Generation()
	require.NoError(t, err)
	require.Equal(t, AddGenerations(first, 2), last)
}

func TestTableAndObjects(t *testing.T) {
	own, _ := pair(t)
	_, err := own.Table(FamilyIPv4, "own")
	require.ErrorIs(t, err, unix.ENOENT)
	none, _, err := own.Objects(FamilyIPv4, "own")
	require.NoError(t, err)
	require.Empty(t, none)
	var b Batch
	addTable(&b, "own")
	addIntegerMap(&b)
	addChain(&b, "own", "c")
	b.Start(MsgNewRule, FlagCreate|FlagAppend, FamilyIPv4)
	b.String(RuleTable, "own")
	b.String(RuleChain, "c")
	for i := range uint32(3) {
		addInteger(&b, i)
	}
	require.NoError(t, own.Commit(&b))
	addTable(&b, "others")
	addChain(&b, "others", "d")
	require.NoError(t, own.Commit(&b))
	table, err := own.Table(FamilyIPv4, "own")
	require.NoError(t, err)
	require.Equal(t, Table{Objects: 2}, table)
	all, exact, err := own.Objects(FamilyIPv4, "own")
	require.NoError(t, err)
	require.True(t, exact)
	require.Len(t, all, 3)
	if all[2].Elements != -1 {
		require.Equal(t, 3, all[2].Elements)
	}
	all[2].Elements = 0
	require.Equal(t, []Object{{MsgNewChain, 2, "c", false, -1}, {MsgNewRule, 3, "c", false, -1}, {MsgNewSet, 1, "s", false, 0}}, all)
}

// The digest of a set follows from its elements as they were sent.
func TestSetDigest(t *testing.T) {
	own, _ := pair(t)
	_, err := own.SetDigest(FamilyIPv4, "own", "s")
	require.ErrorIs(t, err, unix.ENOENT)
	var b Batch
	addTable(&b, "own")
	addIntegerMap(&b)
	for i := range uint32(3000) {
		addInteger(&b, i)
	}
	var want uint64
	require.NoError(t, eachMessage(b.Content(), func(h header, body []byte) {
		if h.kind == subsysNftables<<8|MsgNewSetElem {
			want += Digest(findAttr(findAttr(body[nfgenmsgLen:], ElemListElements), ListElem))
		}
	}))
	require.NoError(t, own.Commit(&b))
	sum, err := own.SetDigest(FamilyIPv4, "own", "s")
	require.NoError(t, err)
	require.Equal(t, want, sum)
}
