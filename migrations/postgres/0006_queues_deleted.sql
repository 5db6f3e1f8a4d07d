-- Which making of a queue this is: another one after it was deleted and made again.
ALTER TABLE queues ADD COLUMN made uuid;
