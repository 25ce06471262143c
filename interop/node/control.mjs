// Controls a test broker over HTTP. Argument: its address, as http://127.0.0.1:8082.
import kafkajs from 'kafkajs'

const url = process.argv[2]

// One operation of the API; its arguments and its result are JSON.
async function call(operation, args = {}) {
  const response = await fetch(`${url}/v1/${operation}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(args),
  })
  if (!response.ok) throw new Error(`${operation}: ${await response.text()}`)
  return response.json()
}

await call('reset')
await call('add_fault', { api: ['Produce'], topic: 'orders', error: 'NOT_LEADER_OR_FOLLOWER', times: 1 })
const [broker] = await call('brokers')
const kafka = new kafkajs.Kafka({ brokers: [broker.address], logLevel: kafkajs.logLevel.NOTHING })
const producer = kafka.producer()
await producer.connect()
await producer.send({ topic: 'orders', messages: [{ value: 'one' }] })
await producer.disconnect()
const [{ fired }] = await call('faults')
const records = (await call('records', { topic: 'orders' })).map(record => record.value)
await call('reset')
const left = (await call('faults')).length
console.log(JSON.stringify({ fired, records, left }))
