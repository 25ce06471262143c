// The interop agent of @platformatic/kafka. Its consumer always joins a group: a reader is a group of its own.
import { readFileSync } from 'node:fs'
import { randomUUID } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import {
  Admin, Consumer as PlatformaticConsumer, ListOffsetTimestamps, MessagesStreamFallbackModes,
  MessagesStreamModes, Producer as PlatformaticProducer,
} from '@platformatic/kafka'
import { EARLIEST, LATEST, Records, SendQueue, bytes, pieces, serve } from './agent.mjs'

const manifest = fileURLToPath(new URL('../package.json', import.meta.resolve('@platformatic/kafka')))
const version = JSON.parse(readFileSync(manifest)).version
const common = {
  clientId: 'interop', bootstrapBrokers: [process.argv[2]], retries: 300, retryDelay: 200, timeout: 10000,
  metadataMaxAge: 1000,
}
const acks = { 0: 0, 1: 1, all: -1 }
const admin = new Admin(common)

class Producer {
  #queue = new SendQueue()

  constructor(settings) {
    this.producer = new PlatformaticProducer({
      ...common, idempotent: settings.idempotent, autocreateTopics: settings.autoCreate,
      ...(settings.autoCreate ? { retries: 5 } : {}),
    })
    this.settings = { acks: acks[settings.acks], compression: settings.codec }
  }

  send(topic, messages) {
    for (const piece of pieces(messages.map(message => outgoing(topic, message)))) {
      this.#queue.add(() => this.producer.send({ messages: piece, ...this.settings }))
    }
  }

  flush(timeoutMs) {
    return this.#queue.flush(timeoutMs)
  }

  close() {
    return this.producer.close()
  }
}

class Consumer {
  records = new Records()
  assigned = []

  constructor(settings) {
    this.consumer = new PlatformaticConsumer({
      ...common, autocommit: false, sessionTimeout: 6000, rebalanceTimeout: 10000, heartbeatInterval: 500,
      maxWaitTime: 500, ...settings,
    })
    this.consumer.on('consumer:group:join', () => {
      this.assigned = (this.consumer.assignments ?? []).flatMap(
        ({ topic, partitions }) => partitions.map(partition => ({ topic, partition })))
      const kept = new Set(this.assigned.map(({ topic, partition }) => `${topic}-${partition}`))
      this.records.keep((topic, partition) => kept.has(`${topic}-${partition}`))
    })
    this.consumer.on('consumer:group:rebalance', () => { this.assigned = [] })
  }

  async run(options, wanted = () => true) {
    this.stream = await this.consumer.consume(options)
    this.stream.on('error', error => this.records.fail(error))
    this.stream.on('data', ({ topic, partition, offset, timestamp, key, value, headerEntries }) => {
      if (!wanted(partition)) return
      this.records.add(topic, partition, offset, timestamp, key, value, headerEntries)
    })
  }

  async commit() {
    const offsets = this.records.positions.map(
      ({ topic, partition, offset }) => ({ topic, partition, offset: BigInt(offset), leaderEpoch: -1 }))
    if (offsets.length > 0) await this.consumer.commit({ offsets })
  }

  close() {
    return this.consumer.close(true)
  }
}

function outgoing(topic, message) {
  return {
    topic, partition: message.partition, key: bytes(message.key) ?? undefined,
    value: bytes(message.value) ?? undefined,
    // Keys of their own, so that a name can stand twice.
    headers: new Map(message.headers.map(({ name, value }) => [Buffer.from(name), bytes(value)])),
    ...(message.timestampMs === undefined ? {} : { timestamp: BigInt(message.timestampMs) }),
  }
}

async function listed(topic, partition, timestamp) {
  const [found] = await admin.listOffsets({
    topics: [{ name: topic, partitions: [{ partitionIndex: partition, timestamp: BigInt(timestamp) }] }],
  })
  return { offset: Number(found.partitions[0].offset) }
}

await serve({
  version: () => ({ version }),
  createTopic: ({ topic, partitions, configs }) => admin.createTopics({
    topics: [topic], partitions, replicas: 1,
    configs: Object.entries(configs).map(([name, value]) => ({ name, value })),
  }).then(() => ({})),
  deleteTopic: ({ topic }) => admin.deleteTopics({ topics: [topic] }).then(() => ({})),
  async topics() {
    const names = await admin.listTopics()
    const { topics } = await admin.metadata({ topics: names, forceUpdate: true })
    return { topics: Object.fromEntries(names.map(name => [name, topics.get(name)?.partitionsCount ?? 0])) }
  },
  offsetAt: ({ topic, partition, timestampMs }) => listed(topic, partition, timestampMs),
  endOffset: ({ topic, partition }) => listed(topic, partition, ListOffsetTimestamps.LATEST),
  async committed({ group, topic, partition }) {
    const [{ topics }] = await admin.listConsumerGroupOffsets({ groups: [group] })
    const found = topics.find(each => each.name === topic)?.partitions.find(each => each.partitionIndex === partition)
    return { offset: Number(found?.committedOffset ?? -1) }
  },
  setCommitted: ({ group, topic, partition, offset }) => admin.alterConsumerGroupOffsets({
    groupId: group, topics: [{ name: topic, partitionOffsets: [{ partition, offset: BigInt(offset) }] }],
  }).then(() => ({})),
  openProducer: settings => new Producer(settings),
  async openReader({ topic, partition, offset }) {
    const reader = new Consumer({ groupId: `interop-reader-${randomUUID()}` })
    const modes = { [EARLIEST]: MessagesStreamModes.EARLIEST, [LATEST]: MessagesStreamModes.LATEST }
    const mode = modes[offset] ?? MessagesStreamModes.MANUAL
    const offsets = mode === MessagesStreamModes.MANUAL ? [{ topic, partition, offset: BigInt(offset) }] : undefined
    await reader.run({ topics: [topic], mode, offsets }, from => from === partition)
    return reader
  },
  openMember({ group, topics, strategy, instanceId }) {
    const protocol = { roundrobin: 'roundrobin', cooperative: 'cooperative-sticky' }[strategy] ?? 'roundrobin'
    const member = new Consumer({
      groupId: group, protocols: [{ name: protocol, version: 1 }],
      ...(instanceId === '' ? {} : { groupInstanceId: instanceId }),
    })
    const options = {
      topics, mode: MessagesStreamModes.COMMITTED, fallbackMode: MessagesStreamFallbackModes.EARLIEST,
    }
    // Joining waits for the members there are, which are polled by later calls.
    member.run(options).catch(error => member.records.fail(error))
    return member
  },
})
