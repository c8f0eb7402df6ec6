/**
 * DescribeConfigs, versions 1 to 4: every setting of a topic, of this broker or of a group, with its value, where the value comes
 * from, and the settings that it falls back on. Documentation (v3+) is not told: Kafka's texts are not part of this project.
 */
import { ErrorCode } from '../../protocol/error-codes.js'
import { describeConfigs } from '../../protocol/schemas/32-describe-configs.js'
import type { RequestOf, ResponseInputOf } from '../../protocol/schema.js'
import { CONFIG_TYPE_NUMBERS, describeBrokerConfigs, describeGroupConfigs, describeTopicConfigs, RESOURCE, type DescribedConfig } from '../config/describe.js'
import { handler } from '../handler.js'
import type { Services } from '../services.js'
import { checkTopicName, refuse } from '../topics/topic-validation.js'
import type { Refusal } from '../../protocol/error-codes.js'

type Resource = RequestOf<typeof describeConfigs>['resources'][number]
type Result = ResponseInputOf<typeof describeConfigs>['results'][number]

export const describeConfigsHandler = handler({ api: describeConfigs, handle })

function handle (services: Pick<Services, 'topics' | 'config' | 'cluster'>, request: RequestOf<typeof describeConfigs>): ResponseInputOf<typeof describeConfigs> {
  const results = request.resources.map((resource): Result => {
    const { resourceType, resourceName, configurationKeys } = resource
    const described = describe(services, resource)
    if ('errorCode' in described) return { ...described, resourceType, resourceName, configs: [] }
    const wanted = configurationKeys === null || configurationKeys.length === 0 ? undefined : new Set(configurationKeys)
    const configs = described.filter(({ name }) => wanted === undefined || wanted.has(name))
      .map((config) => entry(config, request.includeSynonyms))
    return { errorCode: ErrorCode.NONE, errorMessage: '', resourceType, resourceName, configs }
  })
  return { throttleTimeMs: 0, results }
}

function describe ({ topics, config, cluster }: Pick<Services, 'topics' | 'config' | 'cluster'>, { resourceType, resourceName }: Resource): DescribedConfig[] | Refusal {
  switch (resourceType) {
    case RESOURCE.topic: {
      const topic = topics.get(resourceName)
      if (topic !== undefined) return describeTopicConfigs(topic.config, config)
      return checkTopicName(resourceName) ?? refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, 'This server does not host this topic-partition.')
    }
    case RESOURCE.broker:
      if (resourceName !== '' && resourceName !== String(cluster.nodeId)) {
        return refuse(ErrorCode.INVALID_REQUEST, `Unexpected broker id, expected ${cluster.nodeId} or empty string, but received ${resourceName}`)
      }
      return describeBrokerConfigs(config, resourceName === '')
    case RESOURCE.brokerLogger:
      return []
    case RESOURCE.group:
      return resourceName === '' ? refuse(ErrorCode.INVALID_REQUEST, 'Group name must not be empty') : describeGroupConfigs()
    default:
      return refuse(ErrorCode.INVALID_REQUEST, `Unsupported resource type: ${resourceType}`)
  }
}

function entry (config: DescribedConfig, includeSynonyms: boolean): Result['configs'][number] {
  return {
    name: config.name,
    value: config.sensitive ? null : config.value,
    readOnly: config.readOnly,
    configSource: config.source,
    isSensitive: config.sensitive,
    synonyms: includeSynonyms ? config.synonyms.map((synonym) => ({ ...synonym, value: config.sensitive ? null : synonym.value })) : [],
    configType: CONFIG_TYPE_NUMBERS[config.type],
    documentation: null
  }
}
