// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nfnl

// This file contains the constants of the kernel's interface that this module uses. They are
// copied here so that batches can be built and tested on any system.

// Message types of nf_tables.
const (
	MsgNewTable   = 0
	msgGetTable   = 1
	MsgDelTable   = 2
	MsgNewChain   = 3
	msgGetChain   = 4
	MsgDelChain   = 5
	MsgNewRule    = 6
	msgGetRule    = 7
	MsgDelRule    = 8
	MsgNewSet     = 9
	msgGetSet     = 10
	MsgDelSet     = 11
	MsgNewSetElem = 12
	msgGetSetElem = 13
	MsgDelSetElem = 14
	msgNewGen     = 15
	msgGetGen     = 16
)

// Flags of messages.
const (
	flagRequest = 0x1
	flagAck     = 0x4
	flagDump    = 0x300
	// flagDumpInterrupted is set in replies to a dump during which objects changed.
	flagDumpInterrupted = 0x10
	FlagCreate          = 0x400
	FlagAppend          = 0x800
)

// Address families.
const (
	FamilyIPv4 = 2
	FamilyIPv6 = 10
)

// Attributes of tables, hooks and chains.
const (
	TableName     = 1
	tableFlags    = 2
	tableUse      = 3
	TableUserData = 6

	HookNum      = 1
	HookPriority = 2

	ChainTable    = 1
	ChainName     = 3
	ChainHook     = 4
	ChainType     = 7
	ChainUserData = 12
	chainHandle   = 2
	chainPolicy   = 5
)

// Hook numbers of IP packets.
const (
	HookPrerouting  = 0
	HookOutput      = 3
	HookPostrouting = 4
)

// Attributes of rules and of expressions in general.
const (
	RuleTable       = 1
	RuleChain       = 2
	RuleHandle      = 3
	RuleExpressions = 4

	ListElem = 1
	ExprName = 1
	ExprData = 2
)

// Attributes and flags of sets and their elements.
const (
	SetTable    = 1
	SetName     = 2
	SetFlags    = 3
	SetKeyType  = 4
	SetKeyLen   = 5
	SetDataType = 6
	SetDataLen  = 7
	SetDesc     = 9
	SetID       = 10
	SetTimeout  = 11
	SetUserData = 13
	setHandle   = 16
	setCount    = 20
	SetExpr     = 17 // of the elements that are added
	SetDescSize = 1

	SetFlagMap     = 0x8
	SetFlagTimeout = 0x10
	SetFlagDynamic = 0x20

	ElemListTable    = 1
	ElemListSet      = 2
	ElemListElements = 3
	ElemKey          = 1
	ElemData         = 2
	ElemExpiration   = 5
	elemExpr         = 7
)

// Data and verdicts.
const (
	DataValue       = 1
	DataVerdict     = 2
	DataTypeVerdict = 0xffffff00

	VerdictCode  = 1
	VerdictChain = 2

	VerdictDrop   = 0
	VerdictAccept = 1
	VerdictJump   = 0xfffffffd
	VerdictGoto   = 0xfffffffc
	VerdictReturn = 0xfffffffb
)

// Registers: RegVerdict holds the verdict on the packet, and Reg32 + i is the i-th of sixteen
// 32-bit registers. A longer value fills the registers that follow.
const (
	RegVerdict = 0
	Reg32      = 8
)

// Attributes of expressions, each group named for its expression.
const (
	ImmediateDreg = 1
	ImmediateData = 2

	PayloadDreg      = 1
	PayloadBase      = 2
	PayloadOffset    = 3
	PayloadLen       = 4
	PayloadNetwork   = 1
	PayloadTransport = 2

	MetaDreg     = 1
	MetaKey      = 2
	MetaSreg     = 3
	MetaPriority = 2
	MetaMark     = 3
	MetaIifname  = 6
	MetaL4proto  = 16

	CmpSreg = 1
	CmpOp   = 2
	CmpData = 3
	CmpEq   = 0
	CmpNeq  = 1
	CmpLt   = 2

	ByteorderSreg = 1
	ByteorderDreg = 2
	ByteorderOp   = 3
	ByteorderLen  = 4
	ByteorderSize = 5
	ByteorderHton = 1

	BitwiseSreg = 1
	BitwiseDreg = 2
	BitwiseLen  = 3
	BitwiseMask = 4
	BitwiseXor  = 5

	LookupSet  = 1
	LookupSreg = 2
	LookupDreg = 3

	DynsetSet    = 1
	DynsetOp     = 3
	DynsetKey    = 4
	DynsetData   = 5
	DynsetUpdate = 1
	DynsetDelete = 2

	NumgenDreg    = 1
	NumgenModulus = 2
	NumgenType    = 3
	NumgenRandom  = 1

	HashSreg    = 1
	HashDreg    = 2
	HashLen     = 3
	HashModulus = 4
	HashSeed    = 5
	HashType    = 7
	HashJenkins = 0

	NATType        = 1
	NATFamily      = 2
	NATRegAddrMin  = 3
	NATRegProtoMin = 5
	NATDestination = 1

	MasqFlags      = 1
	NATFullyRandom = 0x10

	CtDreg         = 1
	CtKey          = 2
	CtStatus       = 2
	CtStatusDstNAT = 0x20

	counterPackets = 2

	FibDreg        = 1
	FibResult      = 2
	FibFlags       = 3
	FibAddrType    = 3
	FibSaddr       = 1
	FibDaddr       = 2
	RouteTypeLocal = 2

	RejectType     = 1
	RejectCode     = 2
	RejectICMP     = 0
	RejectTCPReset = 1
)

// ICMP codes for an unreachable port.
const (
	PortUnreachable4 = 3
	PortUnreachable6 = 4
)

// The framing of messages.
const (
	subsysNftables = 10
	batchBegin     = 0x10
	batchEnd       = 0x11
	genID          = 1

	nlmsgHeaderLen = 16
	nfgenmsgLen    = 4
	attrHeaderLen  = 4
	nestedFlag     = 0x8000

	nlmsgError     = 2
	nlmsgDone      = 3
	errAttrMessage = 1
	flagCapped     = 0x100
	flagAckTLVs    = 0x200
)
