from llmbench import plugins


class Cpu:
    class Options(plugins.Options):
        pass
