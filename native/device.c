// The TUN or TAP device (Linux): super-packets with a virtio-net header in both directions.
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/virtio_net.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine.h"

// Newer than the headers of some systems that we build on.
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

// Checksum and TSO first: a kernel that knows no USO refuses the whole set. Returns the offloads that were taken.
static unsigned set_offloads(int fd, unsigned wanted) {
  unsigned have = OFFLOAD_VNET, flags = 0;
  if ((wanted & OFFLOAD_CSUM) == 0 || ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM) != 0) return have;
  have |= OFFLOAD_CSUM;
  flags = TUN_F_CSUM;
  if ((wanted & OFFLOAD_TSO4) != 0) flags |= TUN_F_TSO4;
  if ((wanted & OFFLOAD_TSO6) != 0) flags |= TUN_F_TSO6;
  if (flags != TUN_F_CSUM) {
    if (ioctl(fd, TUNSETOFFLOAD, flags | TUN_F_TSO_ECN) == 0) {
      flags |= TUN_F_TSO_ECN;
    } else if (ioctl(fd, TUNSETOFFLOAD, flags) != 0) {
      return have;
    }
    have |= wanted & (OFFLOAD_TSO4 | OFFLOAD_TSO6);
  }
  // The kernel takes both or neither.
  if ((wanted & (OFFLOAD_USO4 | OFFLOAD_USO6)) != (OFFLOAD_USO4 | OFFLOAD_USO6)) return have;
  if (ioctl(fd, TUNSETOFFLOAD, flags | TUN_F_USO4 | TUN_F_USO6) == 0) {
    have |= OFFLOAD_USO4 | OFFLOAD_USO6;
  }
  return have;
}

// Limits super-packets to what one UDP_SEGMENT send holds: else the last few segments of each need a send of their own.
// A kernel that cannot do so is fine.
static void limit_super_packets(const char *name, int mtu) {
  struct {
    struct nlmsghdr header;
    struct ifinfomsg info;
    struct rtattr segments_attribute;
    uint32_t segments;
  } request = {0};
  uint32_t segments = MAX_SEND_BYTES / (uint32_t)(mtu + TRANSPORT_OVERHEAD + MAX_PREFIX_BYTES);
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  struct ifreq ifr = {0};
  memcpy(ifr.ifr_name, name, IFNAMSIZ - 1);
  if (fd < 0) return;
  if (ioctl(fd, SIOCGIFINDEX, &ifr) == 0) {
    request.header.nlmsg_len = sizeof request;
    request.header.nlmsg_type = RTM_NEWLINK;
    request.header.nlmsg_flags = NLM_F_REQUEST;
    request.info.ifi_index = ifr.ifr_ifindex;
    request.segments_attribute.rta_len = RTA_LENGTH(sizeof request.segments);
    request.segments_attribute.rta_type = IFLA_GSO_MAX_SEGS;
    request.segments = segments > MAX_SEGMENTS ? MAX_SEGMENTS : segments;
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    ssize_t ignored = sendto(fd, &request, sizeof request, 0, (struct sockaddr *)&kernel,
                             sizeof kernel);
    (void)ignored;
  }
  close(fd);
}

static int set_mtu(const char *name, int mtu) {
  struct ifreq ifr = {0};
  memcpy(ifr.ifr_name, name, IFNAMSIZ - 1);
  ifr.ifr_mtu = mtu;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int result = ioctl(fd, SIOCSIFMTU, &ifr) == 0 ? 0 : -errno;
  close(fd);
  return result;
}

static int set_mac(int fd, const uint8_t *mac) {
  struct ifreq ifr = {0};
  ifr.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  memcpy(ifr.ifr_hwaddr.sa_data, mac, 6);
  return ioctl(fd, SIOCSIFHWADDR, &ifr) == 0 ? 0 : -errno;
}

static int attach(int fd, char *name, unsigned wanted, int kind, unsigned *offloads) {
  struct ifreq ifr = {0};
  memcpy(ifr.ifr_name, name, IFNAMSIZ - 1);
  ifr.ifr_flags = (short)(kind | IFF_NO_PI | ((wanted & OFFLOAD_VNET) != 0 ? IFF_VNET_HDR : 0));
  if (ioctl(fd, TUNSETIFF, &ifr) != 0) {
    if (errno != EINVAL || (wanted & OFFLOAD_VNET) == 0) return -errno;
    ifr.ifr_flags = (short)(kind | IFF_NO_PI);
    if (ioctl(fd, TUNSETIFF, &ifr) != 0) return -errno;
    wanted &= ~(unsigned)OFFLOAD_VNET;
  }
  memcpy(name, ifr.ifr_name, IFNAMSIZ);
  *offloads = (wanted & OFFLOAD_VNET) != 0 ? set_offloads(fd, wanted) : 0;
  return 0;
}

int device_open(struct engine *engine, char *name, int mtu, unsigned wanted, bool queues,
                const uint8_t *mac) {
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -errno;
  unsigned offloads = 0;
  int kind = (mac != NULL ? IFF_TAP : IFF_TUN) | (queues ? IFF_MULTI_QUEUE : 0);
  int result = attach(fd, name, wanted, kind, &offloads);
  if (result == 0 && mac != NULL) result = set_mac(fd, mac);
  if (result == 0) result = set_mtu(name, mtu);
  if (result != 0) {
    close(fd);
    return result;
  }
  limit_super_packets(name, mtu + (mac != NULL ? MAX_LINK : 0));
  engine->device.fd = fd;
  engine->device.tap = mac != NULL;
  if (mac != NULL) memcpy(engine->device.mac, mac, 6);
  engine->device.offloads = offloads;
  engine->mtu = (size_t)mtu;
  return 0;
}

void device_close(struct engine *engine) {
  if (engine->device.fd >= 0) close(engine->device.fd);
  engine->device.fd = -1;
  engine->device.offloads = 0;
}

static void describe(const struct engine *engine, int32_t *item, size_t offset, size_t length,
                     const struct virtio_net_hdr *header) {
  const uint8_t *packet = engine->out + offset;
  struct inner inner;
  memset(item, 0, ITEM_WORDS * sizeof *item);
  item[ITEM_OFFSET] = (int32_t)offset;
  item[ITEM_LENGTH] = (int32_t)length;
  item[ITEM_FLAGS] = header->flags;
  item[ITEM_GSO_TYPE] = header->gso_type;
  item[ITEM_GSO_SIZE] = header->gso_size;
  item[ITEM_CSUM_START] = header->csum_start;
  item[ITEM_CSUM_OFFSET] = header->csum_offset;
  item[ITEM_KEY] = item[ITEM_PATH] = -1;
  if (engine->device.tap) {
    frame_describe(item, packet, length);
    return;
  }
  if (!inner_parse(packet, length, &inner)) return;
  item[ITEM_FAMILY] = inner.family;
  address_words(item + ITEM_DESTINATION, packet + (inner.family == 4 ? 16 : 24), inner.family);
}

int device_read(struct engine *engine, int most) {
  bool vnet = (engine->device.offloads & OFFLOAD_VNET) != 0;
  // Before a frame there is room for the inner header, which JavaScript writes when it is to travel as one.
  size_t room = engine->device.tap ? FRAME_ROOM : 0;
  size_t at = 0;
  int items = 0;
  if (most > MAX_ITEMS) most = MAX_ITEMS;
  while (items < most && at < engine->out_batch &&
         at + room + SUPER_PACKET_BYTES + PACKET_GAP_BYTES <= engine->out_length) {
    struct virtio_net_hdr header = {0};
    struct iovec parts[2] = {{&header, sizeof header}, {engine->out + at + room, SUPER_PACKET_BYTES}};
    ssize_t got = vnet ? readv(engine->device.fd, parts, 2) : readv(engine->device.fd, parts + 1, 1);
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || items > 0) break;
      return -errno;
    }
    if (vnet) got -= (ssize_t)sizeof header;
    if (got <= 0) {
      count(engine, COUNT_OUT_MALFORMED, 1);
      continue;
    }
    describe(engine, engine->items + items * ITEM_WORDS, at + room, (size_t)got, &header);
    items++;
    at = (at + room + (size_t)got + PACKET_GAP_BYTES + 63) & ~(size_t)63;
  }
  count(engine, COUNT_OUT_SUPER_PACKETS, items);
  return items;
}

// Header and payload pointers go to the kernel as they are. Writes to the device are never partial.
static ssize_t write_unit(struct engine *engine, const int32_t *unit) {
  struct virtio_net_hdr header = {
      .flags = (uint8_t)unit[UNIT_FLAGS],
      .gso_type = (uint8_t)unit[UNIT_GSO_TYPE],
      .hdr_len = (uint16_t)unit[UNIT_HEADER_LENGTH],
      .gso_size = (uint16_t)unit[UNIT_GSO_SIZE],
      .csum_start = (uint16_t)unit[UNIT_CSUM_START],
      .csum_offset = (uint16_t)unit[UNIT_CSUM_OFFSET],
  };
  uint8_t ethernet[ETHERNET_HEADER];
  struct iovec parts[MAX_SEGMENTS + 2];
  int used = 0;
  if ((engine->device.offloads & OFFLOAD_VNET) != 0) {
    parts[used++] = (struct iovec){&header, sizeof header};
  }
  if (engine->device.tap && unit[UNIT_FAMILY] != FAMILY_FRAME) {
    frame_header(ethernet, engine->device.mac, unit);
    parts[used++] = (struct iovec){ethernet, sizeof ethernet};
    if (header.flags != 0) header.csum_start += ETHERNET_HEADER;
    if (header.gso_type != 0) header.hdr_len += ETHERNET_HEADER;
  }
  for (int at = unit[UNIT_FIRST]; at >= 0 && at < MAX_PIECES && used < MAX_SEGMENTS + 2;) {
    const int32_t *piece = engine->pieces + at * PIECE_WORDS;
    size_t offset = (size_t)piece[PIECE_OFFSET], length = (size_t)piece[PIECE_LENGTH];
    if (offset + length > (size_t)MAX_SLOTS * SLOT_BYTES) break;
    parts[used++] = (struct iovec){engine->in + offset, length};
    at = piece[PIECE_NEXT];
  }
  return writev(engine->device.fd, parts, used);
}

int device_write(struct engine *engine, int first, int units) {
  for (int i = first; i < units && i < MAX_UNITS; i++) {
    const int32_t *unit = engine->units + i * UNIT_WORDS;
    if (unit[UNIT_ACCEPT] == 0) continue;
    ssize_t written;
    do {
      written = write_unit(engine, unit);
    } while (written < 0 && errno == EINTR);
    if (written >= 0) {
      count(engine, COUNT_IN_UNITS, 1);
    } else if (errno == EAGAIN) {
      count(engine, COUNT_IN_DEVICE_WAITS, 1);
      return i;
    } else {
      count(engine, COUNT_IN_DEVICE_ERROR, unit[UNIT_PIECES]);
    }
  }
  return units;
}

bool device_inject(struct engine *engine, const uint8_t *bytes, size_t length) {
  struct virtio_net_hdr header = {0};
  struct iovec parts[2] = {{&header, sizeof header}, {(void *)bytes, length}};
  bool vnet = (engine->device.offloads & OFFLOAD_VNET) != 0;
  ssize_t written = -1;
  if (length > 0 && length <= SUPER_PACKET_BYTES) {
    do {
      written = vnet ? writev(engine->device.fd, parts, 2) : writev(engine->device.fd, parts + 1, 1);
    } while (written < 0 && errno == EINTR);
  }
  count(engine, written >= 0 ? COUNT_IN_INJECTED : COUNT_IN_INJECT_REFUSED, 1);
  return written >= 0;
}
