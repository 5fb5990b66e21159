// Tables of 32-bit words that JavaScript and C share: one row for each super-packet, run, unit. `src/engine/layout.ts`
// repeats these numbers and a test compares them (`layout` of the addon).
//
// Outbound: device_read fills ITEM rows up to ITEM_KEY; JavaScript fills in key and path; sealing fills in the rest.
// Inbound: socket_receive fills MESSAGE and RUN rows; JavaScript fills in RUN_KEY; opening fills in the rest of the
// runs, and UNIT and PIECE rows; JavaScript fills in UNIT_ACCEPT; device_write writes the accepted.
#ifndef BURI_LAYOUT_H
#define BURI_LAYOUT_H

enum {
  ITEM_OFFSET,       // of the packet in the outbound buffer
  ITEM_LENGTH,       // of the packet
  ITEM_FAMILY,       // 4, 6, FAMILY_FRAME, or 0 when it is none of these
  ITEM_DESTINATION,  // 4 words, most significant first; IPv4 has one, MACs have two
  ITEM_FLAGS = 7,    // of the virtio-net header, as are the next four
  ITEM_GSO_TYPE,
  ITEM_GSO_SIZE,
  ITEM_CSUM_START,
  ITEM_CSUM_OFFSET,
  ITEM_KEY,     // slot of the key, or -1: leave it out
  ITEM_PATH,    // slot of the path
  ITEM_SEALED,  // datagrams that were sealed
  ITEM_BYTES,   // inner bytes in them
  ITEM_STATUS,  // bits STATUS_*
  ITEM_LINK,    // bytes before the IP header that travel as well: inner header and Ethernet header of a frame, else 0
  ITEM_WORDS
};

// In ITEM_FLAGS beside those of virtio: too large for the path is no reason not to send it.
enum { FLAG_ANY_SIZE = 0x100 };

enum { STATUS_REKEY = 1, STATUS_REFUSED = 2, STATUS_MALFORMED = 4, STATUS_TOO_BIG = 8 };

enum {
  MESSAGE_OFFSET,
  MESSAGE_LENGTH,
  MESSAGE_SEGMENT,  // size of the datagrams merged in it
  MESSAGE_FAMILY,
  MESSAGE_PORT,
  MESSAGE_ADDRESS,  // 4 words
  MESSAGE_WORDS = 9
};

enum {
  RUN_MESSAGE,  // row of the message
  RUN_OFFSET,
  RUN_LENGTH,
  RUN_SEGMENT,
  RUN_KIND,  // KIND_*
  RUN_INDEX,  // receiver index of transport packets
  RUN_KEY,    // slot of the key, or -1
  RUN_AUTHENTIC,   // packets whose tag and counter were good
  RUN_KEEPALIVES,  // those of them that were empty
  RUN_BYTES,       // inner bytes in the others
  RUN_WORDS
};

enum {
  KIND_INITIATION = 1,
  KIND_RESPONSE = 2,
  KIND_COOKIE = 3,
  KIND_TRANSPORT = 4,
  KIND_STUN = 5,
  KIND_BURI = 6
};

enum {
  UNIT_FIRST,   // first row of its pieces
  UNIT_PIECES,  // number of pieces
  UNIT_KEY,
  UNIT_FAMILY,            // 4, 6 or FAMILY_*
  UNIT_SOURCE,            // 4 words
  UNIT_DESTINATION = 8,   // 4 words
  UNIT_ACCEPT = 12,       // set by JavaScript
  UNIT_BYTES,             // inner bytes
  UNIT_FLAGS,             // of the virtio-net header, as are the next five
  UNIT_GSO_TYPE,
  UNIT_HEADER_LENGTH,
  UNIT_GSO_SIZE,
  UNIT_CSUM_START,
  UNIT_CSUM_OFFSET,
  UNIT_STATION,  // set by JavaScript for a TAP device: last four bytes of the sender's MAC
  UNIT_GROUP,    // likewise: 1 when the IP destination is a group or broadcast
  UNIT_WORDS
};

// Families of units that are not IP: an Ethernet frame, and a message between the members' programs. They have one piece, which
// starts behind the inner header. The address words of a frame are its MACs, 2 words each: 4 bytes, then 2.
enum { FAMILY_FRAME = 1, FAMILY_MESSAGE = 2 };

// A piece is a whole packet, or the payload of a later packet of the unit. PIECE_NEXT is -1 at the end.
enum { PIECE_OFFSET, PIECE_LENGTH, PIECE_NEXT, PIECE_WORDS };

enum {
  MAX_ITEMS = 128,
  MAX_SLOTS = 8,
  MAX_RUNS = 1024,
  MAX_UNITS = 1024,
  MAX_PIECES = 1024,
  SLOT_BYTES = 65536 + 64,  // the odd line keeps slots from sharing cache sets
  SUPER_PACKET_BYTES = 65536,
  PACKET_GAP_BYTES = 64,  // between packets of the outbound buffer: room for padding
  FRAME_ROOM = 18,        // before each frame of a TAP device; the inner header goes there
  MAX_LINK = 26,          // the longest ITEM_LINK: inner header, Ethernet header, two VLAN tags
  MAX_PREFIX_BYTES = 64,
  LEAST_PATH_MTU = 320,   // less than that is taken for not known: the longest headers must fit
  MAX_SEGMENTS = 64,      // datagrams in one send, packets in one unit
  MAX_SEND_BYTES = 65507  // the largest UDP payload
};

enum { OFFLOAD_VNET = 1, OFFLOAD_CSUM = 2, OFFLOAD_TSO4 = 4, OFFLOAD_TSO6 = 8, OFFLOAD_USO4 = 16,
       OFFLOAD_USO6 = 32, OFFLOAD_UDP_SEGMENT = 64, OFFLOAD_UDP_GRO = 128,
       OFFLOAD_VAES = 256 };  // of the processor: AES-256-GCM by aesgcm.c

#define COUNTERS(X)                                                                     \
  X(OUT_SUPER_PACKETS, "out-super-packets")   /* packets read from the device */        \
  X(OUT_PACKETS, "out-packets")               /* datagrams sealed, without keepalives */ \
  X(OUT_BYTES, "out-bytes")                   /* inner bytes in them */                 \
  X(OUT_SENDS, "out-sends")                   /* system calls that sent them */         \
  X(OUT_NO_PEER, "out-no-peer")               /* destination is nobody's */             \
  X(OUT_MALFORMED, "out-malformed")           /* not IP, or headers that lie */         \
  X(OUT_KEY_SPENT, "out-key-spent")           /* message limit of the key reached */    \
  X(OUT_SOCKET_FULL, "out-socket-full")       /* datagrams dropped: send buffer full */ \
  X(OUT_SEND_ERROR, "out-send-error")         /* datagrams dropped: any other error */  \
  X(OUT_GSO_REFUSED, "out-gso-refused")       /* sends repeated one by one */           \
  X(OUT_STAGED, "out-staged")                 /* super-packets that waited */           \
  X(OUT_STAGED_DROPPED, "out-staged-dropped") /* and were dropped waiting */            \
  X(OUT_FRAGMENTED, "out-fragmented")         /* IPv4 packets cut to fit their path */  \
  X(OUT_TOO_BIG, "out-too-big")               /* refused, the sender is told by ICMP */ \
  X(IN_MESSAGES, "in-messages")               /* buffers received */                    \
  X(IN_PACKETS, "in-packets")                 /* packets opened, without keepalives */  \
  X(IN_BYTES, "in-bytes")                     /* inner bytes in them */                 \
  X(IN_KEEPALIVES, "in-keepalives")                                                     \
  X(IN_UNITS, "in-units")                     /* writes into the device */              \
  X(IN_UNKNOWN_KIND, "in-unknown-kind")       /* neither WireGuard, STUN nor Buri */    \
  X(IN_UNKNOWN_INDEX, "in-unknown-index")     /* no such receiver index */              \
  X(IN_FORGED, "in-forged")                   /* tag does not verify */                 \
  X(IN_REPLAYED, "in-replayed")               /* counter seen, too old or too high */   \
  X(IN_MALFORMED, "in-malformed")             /* authentic, but no whole IP packet */   \
  X(IN_SOURCE_REFUSED, "in-source-refused")   /* inner source not the sender's */       \
  X(IN_DESTINATION_REFUSED, "in-destination-refused") /* not for us */                  \
  X(IN_TRUNCATED, "in-truncated")             /* larger than a slot */                  \
  X(IN_OVERFLOW, "in-overflow")               /* dropped by the kernel: buffer full */  \
  X(IN_RECEIVE_ERROR, "in-receive-error")                                               \
  X(IN_DEVICE_ERROR, "in-device-error")       /* packets the device refused */          \
  X(IN_DEVICE_WAITS, "in-device-waits")       /* times the device was full */           \
  X(IN_BATCH_FULL, "in-batch-full")           /* more pieces than a batch holds */      \
  X(IN_INJECTED, "in-injected")               /* answers of our own, into the device */ \
  X(IN_INJECT_REFUSED, "in-inject-refused")   /* those that the device did not take */  \
  X(IN_MAC1_REFUSED, "in-mac1-refused")       /* handshakes not meant for us */         \
  X(UP_DROPPED_HANDSHAKE, "up-dropped-handshake") /* queues to the core were full */    \
  X(UP_DROPPED_STUN, "up-dropped-stun")                                                 \
  X(UP_DROPPED_BURI, "up-dropped-buri")                                                 \
  X(UP_DROPPED_MESSAGE, "up-dropped-message") /* messages of members: queue full */     \
  X(IN_MESSAGE_LIMITED, "in-message-limited") /* messages of a member: too many */      \
  X(MESSAGES_SENT, "messages-sent")           /* to members */                          \
  X(MESSAGES_DROPPED, "messages-dropped")     /* member without session */              \
  X(OUT_GROUP, "out-group")                   /* packets for broadcast or a group */    \
  X(OUT_GROUP_COPIES, "out-group-copies")     /* and how many members they went to */   \
  X(OUT_GROUP_LIMITED, "out-group-limited")   /* too many of them */                    \
  X(OUT_GROUP_LOCAL, "out-group-local")       /* IGMP, MLD, groups of the host alone */ \
  X(OUT_FRAMES, "out-frames")                 /* sent as Ethernet frames */             \
  X(OUT_FRAME_ANSWERED, "out-frame-answered") /* ARP and solicitations answered here */ \
  X(OUT_FRAME_LOCAL, "out-frame-local")       /* frames that concern nobody else */     \
  X(OUT_FRAME_NOBODY, "out-frame-nobody")     /* for nobody who takes frames */         \
  X(OUT_FRAME_STRANGER, "out-frame-stranger") /* source not this device: no bridging */ \
  X(IN_FRAMES, "in-frames")                   /* Ethernet frames accepted */            \
  X(IN_ROUTER_REFUSED, "in-router-refused")   /* router advertisements, redirects */    \
  X(IN_GROUP, "in-group")                     /* such packets accepted */               \
  X(IN_GROUP_LIMITED, "in-group-limited")     /* too many of them from one member */    \
  X(DATAGRAMS_SENT, "datagrams-sent")         /* sendDatagram: handshakes, probes */    \
  X(DATAGRAMS_DROPPED, "datagrams-dropped")

#define COUNTER_ENUM(name, text) COUNT_##name,
enum { COUNTERS(COUNTER_ENUM) COUNT_TOTAL };

#endif
