/**
 * Tables of 32-bit words that JavaScript and C share; `native/layout.h` explains who fills in what. The numbers are the same
 * there, and a test compares them.
 */

/** A super-packet read from the device. */
export const ITEM_OFFSET = 0;
export const ITEM_LENGTH = 1;
export const ITEM_FAMILY = 2;
export const ITEM_DESTINATION = 3;
export const ITEM_FLAGS = 7;
export const ITEM_GSO_TYPE = 8;
export const ITEM_GSO_SIZE = 9;
export const ITEM_CSUM_START = 10;
export const ITEM_CSUM_OFFSET = 11;
export const ITEM_KEY = 12;
export const ITEM_PATH = 13;
export const ITEM_SEALED = 14;
export const ITEM_BYTES = 15;
export const ITEM_STATUS = 16;
export const ITEM_LINK = 17;
export const ITEM_WORDS = 18;

/** What happened while an item was sealed (bits). */
export const STATUS_REKEY = 1;
export const STATUS_REFUSED = 2;
export const STATUS_MALFORMED = 4;
export const STATUS_TOO_BIG = 8;

/** In ITEM_FLAGS beside those of virtio: too large for the path is no reason not to send it. */
export const FLAG_ANY_SIZE = 0x100;

/** A buffer received from a socket; UDP_GRO may have merged several datagrams in it. */
export const MESSAGE_OFFSET = 0;
export const MESSAGE_LENGTH = 1;
export const MESSAGE_SEGMENT = 2;
export const MESSAGE_FAMILY = 3;
export const MESSAGE_PORT = 4;
export const MESSAGE_ADDRESS = 5;
export const MESSAGE_WORDS = 9;

/** Consecutive datagrams of one kind and one receiver index within a message. */
export const RUN_MESSAGE = 0;
export const RUN_OFFSET = 1;
export const RUN_LENGTH = 2;
export const RUN_SEGMENT = 3;
export const RUN_KIND = 4;
export const RUN_INDEX = 5;
export const RUN_KEY = 6;
export const RUN_AUTHENTIC = 7;
export const RUN_KEEPALIVES = 8;
export const RUN_BYTES = 9;
export const RUN_WORDS = 10;

/** Kinds of datagrams. */
export const KIND_INITIATION = 1;
export const KIND_RESPONSE = 2;
export const KIND_COOKIE = 3;
export const KIND_TRANSPORT = 4;
export const KIND_STUN = 5;
export const KIND_BURI = 6;

/** Opened packets of one flow that the device takes in one write. */
export const UNIT_FIRST = 0;
export const UNIT_PIECES = 1;
export const UNIT_KEY = 2;
export const UNIT_FAMILY = 3;
export const UNIT_SOURCE = 4;
export const UNIT_DESTINATION = 8;
export const UNIT_ACCEPT = 12;
export const UNIT_BYTES = 13;
export const UNIT_FLAGS = 14;
export const UNIT_GSO_TYPE = 15;
export const UNIT_HEADER_LENGTH = 16;
export const UNIT_GSO_SIZE = 17;
export const UNIT_CSUM_START = 18;
export const UNIT_CSUM_OFFSET = 19;
export const UNIT_STATION = 20;
export const UNIT_GROUP = 21;
export const UNIT_WORDS = 22;

/** Families of units that are not IP (`src/wire/inner.ts`). */
export const FAMILY_FRAME = 1;
export const FAMILY_MESSAGE = 2;

/** A whole packet, or the payload of a later packet of the unit; a linked list. */
export const PIECE_OFFSET = 0;
export const PIECE_LENGTH = 1;
export const PIECE_NEXT = 2;
export const PIECE_WORDS = 3;

/** Bounds of a batch, and of the system calls. */
export const MAX_ITEMS = 128;
export const MAX_SLOTS = 8;
export const MAX_RUNS = 1024;
export const MAX_UNITS = 1024;
export const MAX_PIECES = 1024;
export const SLOT_BYTES = 65_600;
export const SUPER_PACKET_BYTES = 65_536;
export const PACKET_GAP_BYTES = 64;
export const FRAME_ROOM = 18;
export const MAX_LINK = 26;
export const MAX_PREFIX_BYTES = 64;
/** Less than that is taken for not known. */
export const LEAST_PATH_MTU = 320;
export const MAX_SEGMENTS = 64;
export const MAX_SEND_BYTES = 65_507;
export const MAX_SOCKETS = 258;

/** Size of what the threads of an engine share of a key: counter, replay window. */
export const KEY_STATE_BYTES = 1_104;

/** How a socket shares its port with those of other threads. */
export const SHARE_NOT = 0;
export const SHARE_FIRST = 1;
export const SHARE_JOIN = 2;

/** Offloads (bits). */
export const OFFLOAD_VNET = 1;
export const OFFLOAD_CSUM = 2;
export const OFFLOAD_TSO4 = 4;
export const OFFLOAD_TSO6 = 8;
export const OFFLOAD_USO4 = 16;
export const OFFLOAD_USO6 = 32;
export const OFFLOAD_UDP_SEGMENT = 64;
export const OFFLOAD_UDP_GRO = 128;
export const OFFLOAD_VAES = 256;
