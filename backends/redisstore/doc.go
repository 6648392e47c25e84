// Package redisstore keeps claims in Redis.
package redisstore
