/* What the bindings are made of: DPDK's headers, and functions of ours around those of DPDK that are inline. */
#ifndef SHIM_H
#define SHIM_H

#include <stdbool.h>

#include <rte_config.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

/* Macros that are no plain numbers to a generator of bindings. */
static const uint64_t SHIM_RX_OFFLOAD_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t SHIM_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
static const uint64_t SHIM_RX_LRO = RTE_MBUF_F_RX_LRO;
static const uint64_t SHIM_RX_L4_CKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t SHIM_RX_L4_CKSUM_NONE = RTE_MBUF_F_RX_L4_CKSUM_NONE;
static const uint64_t SHIM_RSS_IP_TCP_UDP = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP;
static const uint32_t SHIM_MQ_RX_NONE = RTE_ETH_MQ_RX_NONE;
static const uint32_t SHIM_MQ_RX_RSS = RTE_ETH_MQ_RX_RSS;
static const int SHIM_VLAN_STRIP = RTE_ETH_VLAN_STRIP_OFFLOAD;
static const uint16_t SHIM_HEADROOM = RTE_PKTMBUF_HEADROOM;
static const unsigned SHIM_CACHE_MAX = RTE_MEMPOOL_CACHE_MAX_SIZE;
static const unsigned SHIM_LCORES_MAX = RTE_MAX_LCORE;

/* `struct rte_mbuf` as far as the data path touches it. DPDK's own has its fields in other unions with every other release, which a
 * generator of bindings shows and C does not; the places stay (`shim.c` asserts them). */
struct shim_mbuf {
	void *buf_addr;
	uint64_t buf_iova;
	uint16_t data_off;
	uint16_t refcnt;
	uint16_t nb_segs;
	uint16_t port;
	uint64_t ol_flags;
	uint32_t packet_type;
	uint32_t pkt_len;
	uint16_t data_len;
	uint16_t vlan_tci;
	uint32_t hash[2];
	uint16_t vlan_tci_outer;
	uint16_t buf_len;
	void *pool;
	struct shim_mbuf *next;
	uint8_t rest[56];
};

/* `rte_errno` of the calling thread. */
int shim_errno(void);
/* As `rte_eth_rx_burst`. */
uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct shim_mbuf **packets, uint16_t count);
/* As `rte_eth_tx_burst`. */
uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct shim_mbuf **packets, uint16_t count);
/* As `rte_pktmbuf_alloc_bulk`: all or none (not 0). */
int shim_alloc_bulk(struct rte_mempool *pool, struct shim_mbuf **packets, unsigned count);
/* As `rte_pktmbuf_free_bulk`. */
void shim_free_bulk(struct shim_mbuf **packets, unsigned count);
/* A pool of `count` mbufs over as many buffers of `len` bytes each, which are not DPDK's: mbuf `i` begins with `buffers[i]` as its own. Their
 * addresses for devices are those of the process. NULL: an error, see `shim_errno`. */
struct rte_mempool *shim_pool_over(const char *name, unsigned count, unsigned cache, int socket, void *const *buffers, uint16_t len);
/* Writes the buffers that a pool's mbufs have now, at most `max`; says how many mbufs there are. */
unsigned shim_pool_buffers(struct rte_mempool *pool, void **buffers, unsigned max);
/* Do devices use the process's own addresses (RTE_IOVA_VA)? */
bool shim_iova_is_va(void);
/* Is the link of a port up (1) or not (0), and at how many Mbit/s (0: not known)? Does not wait. Negative: an error. */
int shim_link(uint16_t port, uint32_t *speed_mbps);
/* The MAC address of a port, 6 octets. 0, or an error. */
int shim_mac(uint16_t port, uint8_t *octets);
/* From now on what DPDK logs goes to `write`, a call for each piece of text. 0, or an error. */
int shim_log_to(void (*write)(const char *text, size_t len));
/* From now on `*gone` becomes true when the device of the port is unplugged. 0, or an error. */
int shim_watch_removal(uint16_t port, bool *gone);
/* Undoes `shim_watch_removal`: afterwards nobody writes to `*gone`. 0, or an error. */
int shim_forget_removal(uint16_t port, bool *gone);
/* From now on peers on the vhost-user socket `path` are told that they have to send whole frames: with checksums, and no longer than a
 * packet may be. 0, or an error. */
int shim_vhost_whole_frames(const char *path);

#endif
