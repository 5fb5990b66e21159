// Ethernet frames: what is impaired, and how one bit of a datagram is changed.
#ifndef BURI_LAB_FRAME_H
#define BURI_LAB_FRAME_H

#include <stdbool.h>
#include <stdint.h>

// False for ARP and neighbour discovery: a line that is bad far away does not keep neighbours from finding each other.
bool frame_is_impaired(const uint8_t *frame, uint32_t bytes);

// Flips one bit, chosen by `random`, of the payload of a UDP datagram over IPv4 or IPv6, and sets its checksum right, so that the
// program that receives it sees it. False when there is no such payload: nothing is changed then.
bool frame_corrupt(uint8_t *frame, uint32_t bytes, uint64_t random);

#endif
