#define _GNU_SOURCE
/* rte_pktmbuf_pool_create_extbuf and nothing else: there since 20.02, and not called stable yet. */
#define ALLOW_EXPERIMENTAL_API
#include "shim.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_net.h>
#include <rte_vhost.h>

/* The data path reads and writes mbufs as `struct shim_mbuf`. lib.rs asserts the same offsets once more, for its compiler. */
#define SAME(field)                                                                                                                   \
	_Static_assert(offsetof(struct rte_mbuf, field) == offsetof(struct shim_mbuf, field), "rte_mbuf." #field " has moved");       \
	_Static_assert(sizeof(((struct rte_mbuf *)0)->field) == sizeof(((struct shim_mbuf *)0)->field), "rte_mbuf." #field " has grown")
SAME(buf_addr);
SAME(data_off);
SAME(refcnt);
SAME(nb_segs);
SAME(port);
SAME(ol_flags);
SAME(packet_type);
SAME(pkt_len);
SAME(data_len);
SAME(vlan_tci);
SAME(vlan_tci_outer);
SAME(buf_len);
SAME(pool);
SAME(next);
_Static_assert(sizeof(struct rte_mbuf) == sizeof(struct shim_mbuf), "rte_mbuf has another size");

int shim_errno(void) { return rte_errno; }

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct shim_mbuf **packets, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, (struct rte_mbuf **)packets, count);
}

uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct shim_mbuf **packets, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, (struct rte_mbuf **)packets, count);
}

int shim_alloc_bulk(struct rte_mempool *pool, struct shim_mbuf **packets, unsigned count)
{
	return rte_pktmbuf_alloc_bulk(pool, (struct rte_mbuf **)packets, count);
}

void shim_free_bulk(struct shim_mbuf **packets, unsigned count)
{
	rte_pktmbuf_free_bulk((struct rte_mbuf **)packets, count);
}

struct rte_mempool *shim_pool_over(const char *name, unsigned count, unsigned cache, int socket, void *const *buffers, uint16_t len)
{
	struct rte_pktmbuf_extmem *areas = calloc(count, sizeof(*areas));
	if (areas == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	for (unsigned i = 0; i < count; i++) {
		areas[i].buf_ptr = buffers[i];
		areas[i].buf_iova = (rte_iova_t)buffers[i];
		areas[i].buf_len = len;
		areas[i].elt_size = len;
	}
	struct rte_mempool *pool = rte_pktmbuf_pool_create_extbuf(name, count, cache, 0, len, socket, areas, count);
	int error = rte_errno;
	free(areas);
	rte_errno = error;
	return pool;
}

struct found {
	void **buffers;
	unsigned max;
};

static void find(struct rte_mempool *pool, void *found, void *mbuf, unsigned index)
{
	(void)pool;
	struct found *to = found;
	if (index < to->max)
		to->buffers[index] = ((struct rte_mbuf *)mbuf)->buf_addr;
}

unsigned shim_pool_buffers(struct rte_mempool *pool, void **buffers, unsigned max)
{
	struct found found = { buffers, max };
	return rte_mempool_obj_iter(pool, find, &found);
}

bool shim_iova_is_va(void) { return rte_eal_iova_mode() == RTE_IOVA_VA; }

int shim_link(uint16_t port, uint32_t *speed_mbps)
{
	struct rte_eth_link link;
	memset(&link, 0, sizeof(link));
	int error = rte_eth_link_get_nowait(port, &link);
	if (error != 0)
		return error;
	*speed_mbps = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed;
	return link.link_status == RTE_ETH_LINK_UP;
}

int shim_mac(uint16_t port, uint8_t *octets)
{
	struct rte_ether_addr address;
	int error = rte_eth_macaddr_get(port, &address);
	if (error == 0)
		memcpy(octets, address.addr_bytes, sizeof(address.addr_bytes));
	return error;
}

static void (*log_write)(const char *text, size_t len);

static ssize_t log_cookie(void *cookie, const char *text, size_t len)
{
	(void)cookie;
	log_write(text, len);
	return (ssize_t)len;
}

int shim_log_to(void (*write)(const char *text, size_t len))
{
	cookie_io_functions_t functions = { .write = log_cookie };
	log_write = write;
	FILE *stream = fopencookie(NULL, "w", functions);
	if (stream == NULL)
		return -1;
	return rte_openlog_stream(stream);
}

static int removed(uint16_t port, enum rte_eth_event_type event, void *gone, void *result)
{
	(void)port;
	(void)event;
	(void)result;
	__atomic_store_n((bool *)gone, true, __ATOMIC_RELEASE);
	return 0;
}

int shim_watch_removal(uint16_t port, bool *gone)
{
	return rte_eth_dev_callback_register(port, RTE_ETH_EVENT_INTR_RMV, removed, gone);
}

int shim_forget_removal(uint16_t port, bool *gone)
{
	return rte_eth_dev_callback_unregister(port, RTE_ETH_EVENT_INTR_RMV, removed, gone);
}

int shim_vhost_whole_frames(const char *path)
{
	/* VIRTIO 1.1, 5.1.3. GSO is what legacy drivers take for all kinds of segmentation. */
	static const unsigned features[] = { VIRTIO_NET_F_CSUM,      VIRTIO_NET_F_GSO,      VIRTIO_NET_F_HOST_TSO4,
					     VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_HOST_UFO };
	uint64_t mask = 0;
	for (unsigned i = 0; i < sizeof(features) / sizeof(features[0]); i++)
		mask |= 1ULL << features[i];
	return rte_vhost_driver_disable_features(path, mask);
}
